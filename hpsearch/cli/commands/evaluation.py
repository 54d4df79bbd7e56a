"""What comes after a search: testing its best configurations, ablating the best, and exporting models."""

from pathlib import Path
from typing import Annotated

import typer

from hpsearch.cli import console, messages
from hpsearch.cli.app import AsJson, Storage, StudyName, app
from hpsearch.cli.context import open_database


@app.command()
def evaluate(
    name: StudyName,
    top: Annotated[int | None, typer.Option(min=1, metavar="K", help="Its best K configurations (default 3).")] = None,
    seeds: Annotated[int | None, typer.Option(min=1, metavar="N", help="Trainings of each (default 5).")] = None,
    again: Annotated[bool, typer.Option("--again", help="Make a further evaluation, with other seeds.")] = False,
    as_json: AsJson = False,
    storage: Storage = None,
) -> None:
    """Test a study's best configurations on the test images.

    They are trained anew, with several seeds, by the workers. The same command then shows the result.
    """
    from hpsearch.evaluation import evaluation, results
    from hpsearch.report import evaluation_tables

    with open_database(storage) as database, console.explain_wait(f"reading {name}"):
        requested, is_new = evaluation.request_evaluation(database, name, top, seeds, again=again)
        status = results.read_status(database, requested)
    messages.print_requested(status, is_new=is_new)
    if as_json:
        console.print_json(results.make_document(status))
    else:
        messages.print_evaluation(status, storage)
    if not is_new:
        for line in evaluation_tables.describe_difference(status.evaluation, top, seeds):
            console.print_line(line)


@app.command()
def ablate(
    name: StudyName,
    trial: Annotated[int | None, typer.Option(metavar="N", help="Around this trial (default: the best).")] = None,
    seeds: Annotated[int | None, typer.Option(min=2, metavar="N", help="Trainings of each level (default 3).")] = None,
    levels: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=V,V", help="Try these values only, and no path; repeatable."),
    ] = None,
    again: Annotated[bool, typer.Option("--again", help="Make a further ablation, with other seeds.")] = False,
    as_json: AsJson = False,
    storage: Storage = None,
) -> None:
    """Measure what each hyperparameter does at the best.

    The best configuration and those that differ from it in one hyperparameter are trained with several seeds, by the
    workers. The same command then shows the result.
    """
    from hpsearch.evaluation import ablation

    request = ablation.AblationRequest(trial, seeds, tuple(levels or ()))
    with open_database(storage) as database, console.explain_wait(f"reading {name}"):
        requested, is_new = ablation.request_ablation(database, name, request, again=again)
        result = database.transact(lambda connection: ablation.find_result(connection, requested.ablated))
        if is_new:
            price = database.transact(lambda connection: ablation.price_design(connection, requested))
            messages.print_new_ablation(requested, price)
    if as_json:
        console.print_json(ablation.make_document(requested, result))
    else:
        messages.print_ablation(requested, result, storage)
    if not is_new:
        for line in ablation.describe_other_request(requested, request):
            console.print_line(line)


@app.command()
def export(
    name: StudyName,
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="A directory that is not there yet, or is empty.")],
    saved_model: Annotated[bool, typer.Option("--saved-model", help="Also as TensorFlow SavedModels.")] = False,
    storage: Storage = None,
) -> None:
    """Write a study's models as .keras files, with a README.

    These are its evaluation's models, else the best that its search has kept.
    """
    from hpsearch.evaluation import export

    with open_database(storage) as database:
        with console.explain_wait(f"reading the models of {name}"):
            exported = export.export(database, name, directory, serving=saved_model)
        messages.print_exported(exported)

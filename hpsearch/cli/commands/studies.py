"""Starting, checking, governing and deleting studies."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from hpsearch.cli import console, messages
from hpsearch.cli.app import AsJson, Cpu, GpuIndex, NewName, NewTrials, Overrides, Storage, StudyFile, StudyName, app
from hpsearch.cli.context import open_database
from hpsearch.errors import StudyFileError, UsageError
from hpsearch.formatting import format_count


@app.command()
def start_study(
    file: StudyFile = None,
    name: NewName = None,
    set_: Overrides = None,
    trials: NewTrials = None,
    as_json: AsJson = False,
    storage: Storage = None,
) -> None:
    """Put a study into the database, or extend the one there."""
    from hpsearch import settings
    from hpsearch.spec import loader
    from hpsearch.storage import study_creation

    spec, artifacts = loader.load(file, set_ or (), name, trials), settings.read_artifacts()
    messages.print_warnings(spec)
    waiting = f"storing {spec.study.name} and its {format_count(spec.budget.trials, 'trial')}"
    with open_database(storage) as database, console.explain_wait(waiting):
        started = study_creation.start(database, spec, artifacts)
    if as_json:
        console.print_json(messages.make_started_document(started))
    messages.print_started(started, storage)


@app.command()
def check(
    file: StudyFile = None,
    name: NewName = None,
    set_: Overrides = None,
    trials: NewTrials = None,
    gpu: GpuIndex = None,
    cpu: Cpu = False,
) -> None:
    """Check that a study's models build and learn, and the cost.

    Every branch of the search space is tried, on one device. A fault is a line, and the exit code 2.
    """
    from hpsearch import devices
    from hpsearch.cli import precheck_view
    from hpsearch.spec import loader
    from hpsearch.worker.local import precheck

    spec, device = loader.load(file, set_ or (), name, trials), devices.choose_device(gpu, cpu)
    with precheck_view.show_progress() as show:
        report = precheck.run(spec, device, show)
    precheck_view.print_report(report)
    if report.faults:
        raise StudyFileError(report.faults)


@app.command()
def data(file: StudyFile = None, name: NewName = None, set_: Overrides = None) -> None:
    """Decode a study's images, and tell what is in them.

    A worker does so by itself, once on a host; beforehand no trial waits for it.
    """
    from hpsearch.cli import data_view
    from hpsearch.spec import loader
    from hpsearch.worker.local import data_preparation

    spec = loader.load(file, set_ or (), name)
    with data_view.show_progress() as show:
        prepared = data_preparation.prepare(spec, show)
    data_view.print_prepared(spec.data.title, prepared)


@app.command()
def init(
    build: Annotated[str, typer.Argument(metavar="FILE.py:FUNCTION", help="Your function that builds a model.")],
    data: Annotated[
        Path | None, typer.Option(metavar="PATH", help="Your images, or a built-in data set (none: the default one).")
    ] = None,
    image_size: Annotated[int | None, typer.Option(min=1, metavar="N", help="Height and width of an image.")] = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", metavar="FILE", help="The study file.")] = None,
) -> None:
    """Write a study file for a model of your own.

    Its search space is what the function asks for, as it does of KerasTuner.
    """
    from hpsearch.cli import study_drafting

    with console.make_console(stderr=True).status("loading the framework, and building the model"):
        file = study_drafting.write(build, data, image_size, output)
    console.print_line(
        f"{file} is written: look through it, then hpsearch check {file} and hpsearch start-study {file}"
    )


@app.command()
def pause(name: StudyName, storage: Storage = None) -> None:
    """Pause a study; its running trials save a checkpoint first."""
    from hpsearch.storage import study_control

    with open_database(storage) as database:
        messages.print_paused(database.transact(lambda connection: study_control.pause(connection, name)))


@app.command()
def resume(name: StudyName, storage: Storage = None) -> None:
    """Let a paused or stopped study go on."""
    from hpsearch.storage import study_control

    with open_database(storage) as database:
        messages.print_resumed(database.transact(lambda connection: study_control.resume(connection, name)))


@app.command()
def stop(name: StudyName, storage: Storage = None) -> None:
    """End a study: its running trials end as pruned."""
    from hpsearch.storage import study_control

    with open_database(storage) as database:
        messages.print_stopped(database.transact(lambda connection: study_control.stop(connection, name)))


@app.command()
def retry(
    name: StudyName,
    trial: Annotated[int | None, typer.Option(min=0, metavar="N", help="Only this one, also once more.")] = None,
    storage: Storage = None,
) -> None:
    """Enqueue the configurations of failed trials again.

    They come on top of the budget.
    """
    from hpsearch.storage import study_control

    with open_database(storage) as database:
        messages.print_retried(database.transact(lambda connection: study_control.retry(connection, name, trial)))


@app.command()
def delete(
    name: StudyName,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask first.")] = False,
    storage: Storage = None,
) -> None:
    """Delete a study, its trials and their files."""
    from hpsearch.storage import study_deletion
    from hpsearch.storage.artifacts import cleanup

    with open_database(storage) as database:
        contents = database.transact(lambda connection: study_deletion.read_contents(connection, name))
        if not yes and not sys.stdin.isatty():
            raise UsageError(f"nobody is there to ask whether {name} shall be deleted: give --yes")
        if not yes and not console.confirm(messages.describe_deletion(contents)):
            console.print_line(f"{name} stays")
            return
        with console.explain_wait(f"deleting {messages.describe_contents(contents)}"):
            database.transact(lambda connection: study_deletion.delete(connection, contents.study.study_id))
            cleanup.collect_garbage(database)  # what it kept elsewhere
        console.print_line(f"{name} is deleted")

"""Reading what there is: the status, the results, the dashboard and the report."""

import contextlib
from pathlib import Path
from typing import Annotated

import typer

from hpsearch.cli import console, messages, status_view
from hpsearch.cli.app import AsJson, Storage, StudyName, app
from hpsearch.cli.context import open_database
from hpsearch.errors import UsageError


@app.command()
def status(
    name: Annotated[str | None, typer.Argument(help="Only this study.")] = None,
    as_json: AsJson = False,
    watch: Annotated[bool, typer.Option("--watch", help="Show it again every 2 s, until Ctrl-C.")] = False,
    storage: Storage = None,
) -> None:
    """Show the studies, how far and fast they are, and workers."""
    from hpsearch.storage import status

    if as_json and watch:
        raise UsageError("--json and --watch exclude each other: keep one of them")
    with open_database(storage) as database:

        def read() -> status.Overview:
            return database.transact(lambda connection: status.read(connection, name))

        if watch:
            with contextlib.suppress(KeyboardInterrupt):
                status_view.watch(read)
        elif as_json:
            console.print_json(status.make_document(read()))
        else:
            status_view.print_overview(read())


@app.command()
def results(
    name: StudyName,
    as_json: AsJson = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV on stdout, a row a trial.")] = False,
    storage: Storage = None,
) -> None:
    """Print every trial of a study."""
    from hpsearch.storage import results

    if as_json and as_csv:
        raise UsageError("--json and --csv exclude each other: keep one of them")
    with open_database(storage) as database, console.explain_wait(f"reading {name}"):
        summary, trials = database.transact(lambda connection: results.read(connection, name))
    if as_json:
        console.print_json(results.make_document(summary, trials))
    elif as_csv:
        console.print_csv(results.make_document(summary, trials))
    else:
        console.print_results(summary, trials)


@app.command()
def logs(
    name: StudyName,
    trial: Annotated[int, typer.Argument(min=0, help="The number of one of its trials.")],
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until the trial has ended.")] = False,
    storage: Storage = None,
) -> None:
    """Print what a trial printed, its last 64 kB."""
    from hpsearch.cli import logs_view
    from hpsearch.storage.artifacts import output

    with open_database(storage) as database:

        def read() -> output.TrialOutput:
            return database.transact(lambda connection: output.find(connection, name, trial))

        if follow:
            with contextlib.suppress(KeyboardInterrupt):
                logs_view.follow(read)
        else:
            logs_view.print_output(read())


@app.command("answer")
def answer_study(name: StudyName, as_json: AsJson = False, storage: Storage = None) -> None:
    """Say what matters, what to use, and what is open.

    With intervals, from all of its trials, pruned ones too.
    """
    from hpsearch.analysis.answer import make_document
    from hpsearch.cli import answer_view
    from hpsearch.evaluation import answers

    with open_database(storage) as database, console.explain_wait(f"reading {name} and fitting models to its trials"):
        source = database.transact(lambda connection: answers.read_answer_source(connection, name))
        answer = answers.answer(source)
    if as_json:
        console.print_json(make_document(answer))
    else:
        answer_view.print_answer(answer)


@app.command()
def dashboard(
    host: Annotated[str, typer.Option(help="The address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="The port; 0 takes a free one.")] = 8080,
    edit: Annotated[bool, typer.Option("--edit", help="Let its pages change notes and files, and end trials.")] = False,
    certificate: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Serve HTTPS with this certificate (PEM, with its chain).")
    ] = None,
    key: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The certificate's key, unless it is in the same file.")
    ] = None,
    storage: Storage = None,
) -> None:
    """Serve the Optuna dashboard over the studies."""
    from hpsearch import settings
    from hpsearch.dashboard import server

    if key is not None and certificate is None:
        raise UsageError("--key is the key of a certificate: add --certificate FILE")
    tls = server.load_certificate(certificate, key) if certificate else None
    password = settings.read_dashboard_password()
    with open_database(storage, "hpsearch dashboard") as database:
        secret = password.value if password else None
        listening = server.listen(database, host, port, edit=edit, password=secret, tls=tls)
        with contextlib.suppress(KeyboardInterrupt):
            console.print_line(f"the dashboard is at {listening.url} (database {database.name}; Ctrl-C ends it)")
            listening.serve()


@app.command()
def report(
    name: StudyName,
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Where to write it (else NAME-report, here); replaces a report.")
    ] = None,
    storage: Storage = None,
) -> None:
    """Write what a study shows, as HTML and as Markdown.

    Says what each hyperparameter does, and how sure that is.
    """
    from hpsearch.report import report
    from hpsearch.report.material import read_source

    directory = out or report.choose_directory(name)
    report.check_directory(directory)
    waiting = f"reading {name}, fitting models to its trials and drawing charts"
    with open_database(storage) as database, console.explain_wait(waiting):
        source = database.transact(lambda connection: read_source(connection, name))
        page = report.write(source, directory)
    messages.print_report_path(page)

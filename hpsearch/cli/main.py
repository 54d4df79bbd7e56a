"""The command line, and the composition root; what it prints it prints through `output.py`.

What a command needs is imported inside it, so that `hpsearch --help` answers in a blink.
"""

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer
from typer.exceptions import TyperException

from hpsearch.cli import console, messages, status_view, stdio
from hpsearch.cli.console import say
from hpsearch.errors import ExitCode, HpsearchError, StudyFileError, UsageError

if TYPE_CHECKING:
    from hpsearch.cli.training_progress import PlainProgress
    from hpsearch.storage.database import Database

app = typer.Typer(
    name="hpsearch",
    help="Search the hyperparameters of Keras image classifiers, on as many GPU hosts as you have.",
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
database_commands = typer.Typer(help="Look after the database's tables.", no_args_is_help=True, rich_markup_mode=None)
app.add_typer(database_commands, name="db")

Storage = Annotated[
    str | None,
    typer.Option(metavar="URL", help="Postgres to use (else HPSEARCH_STORAGE, else an embedded one on this host)."),
]
StudyName = Annotated[str, typer.Argument(help="The study.")]
Overrides = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Replaces a key of the file; repeatable.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON on stdout.")]


@app.command()
def start_study(
    file: Annotated[Path | None, typer.Argument(help="The study file (none: the default study).")] = None,
    name: Annotated[str | None, typer.Option(help="Replaces study.name.")] = None,
    set_: Overrides = None,
    trials: Annotated[int | None, typer.Option(help="Replaces budget.trials.")] = None,
    as_json: AsJson = False,
    storage: Storage = None,
) -> None:
    """Put a study into the database, or extend the one that is there."""
    from hpsearch import settings
    from hpsearch.spec import study_spec
    from hpsearch.storage import studies

    described, place = study_spec.load(file, set_ or (), name, trials), settings.read_artifacts()
    with _database(storage) as database:
        started = studies.start(database, described, place)
    if as_json:
        console.print_json(
            {
                "study": started.study.name,
                "made": started.made,
                "status": started.study.status,
                "fingerprint": started.study.fingerprint,
                "trials": started.study.spec.budget.trials,
                "artifacts": started.study.artifacts,
                "changes": list(started.changes),
                "kept": list(started.kept),
            }
        )
    messages.tell_started(started, storage)


@app.command()
def check(
    file: Annotated[Path | None, typer.Argument(help="The study file (none: the default study).")] = None,
    name: Annotated[str | None, typer.Option(help="Replaces study.name.")] = None,
    set_: Overrides = None,
    trials: Annotated[int | None, typer.Option(help="Replaces budget.trials.")] = None,
    gpu: Annotated[int | None, typer.Option(metavar="N", help="Check on this GPU.")] = None,
    cpu: Annotated[bool, typer.Option("--cpu", help="Check on the CPU.")] = False,
) -> None:
    """Check that a study's branches build and learn, and what they cost; a fault is a line, and exit code 2."""
    from hpsearch import devices
    from hpsearch.cli import precheck_view
    from hpsearch.spec import study_spec
    from hpsearch.worker import precheck

    described, device = study_spec.load(file, set_ or (), name, trials), devices.choose_device(gpu, cpu)
    with precheck_view.follow() as told:
        report = precheck.run(described, device, told)
    precheck_view.print_report(report)
    if report.faults:
        raise StudyFileError(report.faults)


@app.command()
def worker(
    gpu: Annotated[int | None, typer.Option(metavar="N", help="Train on this GPU.")] = None,
    cpu: Annotated[bool, typer.Option("--cpu", help="Train on the CPU.")] = False,
    study: Annotated[list[str] | None, typer.Option(metavar="NAME", help="Serve only this study; repeatable.")] = None,
    drain: Annotated[bool, typer.Option("--drain", help="Leave when no study has work left.")] = False,
    trials: Annotated[int | None, typer.Option(min=1, help="Leave after so many trials.")] = None,
    slots: Annotated[int, typer.Option(min=1, help="Train so many trials at once, the device shared out.")] = 1,
    storage: Storage = None,
) -> None:
    """Train trials of every running study in the database, by priority."""
    from hpsearch import devices
    from hpsearch.worker.worker import Worker

    device = devices.choose_device(gpu, cpu)
    with _database(storage, "hpsearch worker") as database, _display() as display:
        serving = Worker(
            database, display, gpu=device, study_names=study or (), drain=drain, trials=trials, slots=slots
        )
        _tell_place("worker", database, serving.holder.device)
        serving.serve()


def _tell_place(command: str, database: "Database", device: str) -> None:
    from hpsearch.storage.database import EmbeddedDatabase

    say(f"hpsearch {command} on {device}, database {database.name}")
    if isinstance(database, EmbeddedDatabase):
        say("  it serves this host only: for several, give --storage postgresql://user:password@host/database")


@app.command()
def pause(name: StudyName, storage: Storage = None) -> None:
    """Let no trial of a study train until it is resumed; those that do save a checkpoint first."""
    from hpsearch.storage import study_control

    with _database(storage) as database:
        messages.tell_paused(database.transact(lambda connection: study_control.pause(connection, name)))


@app.command()
def resume(name: StudyName, storage: Storage = None) -> None:
    """Let a paused or stopped study go on."""
    from hpsearch.storage import study_control

    with _database(storage) as database:
        messages.tell_resumed(database.transact(lambda connection: study_control.resume(connection, name)))


@app.command()
def stop(name: StudyName, storage: Storage = None) -> None:
    """End a study: its running trials end as pruned."""
    from hpsearch.storage import study_control

    with _database(storage) as database:
        messages.tell_stopped(database.transact(lambda connection: study_control.stop(connection, name)))


@app.command()
def retry(
    name: StudyName,
    trial: Annotated[int | None, typer.Option(min=0, metavar="N", help="Only this one, also once more.")] = None,
    storage: Storage = None,
) -> None:
    """Enqueue the configurations of failed trials again, beyond the budget."""
    from hpsearch.storage import study_control

    with _database(storage) as database:
        messages.tell_retried(database.transact(lambda connection: study_control.retry(connection, name, trial)))


@app.command()
def delete(
    name: StudyName,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask first.")] = False,
    storage: Storage = None,
) -> None:
    """Remove a study, its trials and their files."""
    from hpsearch.storage import study_deletion
    from hpsearch.storage.artifacts import table

    with _database(storage) as database:
        contents = database.transact(lambda connection: study_deletion.read_contents(connection, name))
        if not yes and not sys.stdin.isatty():
            raise UsageError(f"nobody is there to ask whether {name} shall be deleted: give --yes")
        if not yes and not console.ask(messages.describe_deletion(contents)):
            say(f"{name} stays")
            return
        database.transact(lambda connection: study_deletion.delete(connection, contents.study.study_id))
        table.sweep(database)  # what it kept elsewhere
        say(f"{name} is deleted")


@app.command()
def dashboard(
    host: Annotated[str, typer.Option(help="The address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="The port; 0 takes a free one.")] = 8080,
    edit: Annotated[bool, typer.Option("--edit", help="Let its pages change notes and files, and end trials.")] = False,
    storage: Storage = None,
) -> None:
    """Open the Optuna dashboard over the studies."""
    from hpsearch import settings
    from hpsearch.dashboard import server

    password = settings.read_dashboard_password()
    with _until_terminated(), _database(storage, "hpsearch dashboard") as database:
        listening = server.listen(database, host, port, edit=edit, password=password.value if password else None)
        with contextlib.suppress(KeyboardInterrupt):
            say(f"the dashboard is at {listening.url} (database {database.name}; Ctrl-C ends it)")
            listening.serve()


@contextlib.contextmanager
def _until_terminated() -> Iterator[None]:
    """SIGTERM ends the block as Ctrl-C does, so that the embedded server is put down in order."""
    import signal

    def end(*_: object) -> NoReturn:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@app.command()
def status(
    name: Annotated[str | None, typer.Argument(help="Only this study.")] = None,
    as_json: AsJson = False,
    watch: Annotated[bool, typer.Option("--watch", help="Show it again every 2 s, until Ctrl-C.")] = False,
    storage: Storage = None,
) -> None:
    """Show the studies, how far and how fast they are, and the workers."""
    from hpsearch.storage import status

    if as_json and watch:
        raise UsageError("--json and --watch exclude each other: keep one of them")
    with _until_terminated() if watch else contextlib.nullcontext(), _database(storage) as database:

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
    with _database(storage) as database:
        summary, trials = database.transact(lambda connection: results.read(connection, name))
    if as_json:
        console.print_json(results.make_document(summary, trials))
    elif as_csv:
        console.print_csv(results.make_document(summary, trials))
    else:
        console.print_results(summary, trials)


@app.command()
def evaluate(
    name: StudyName,
    top: Annotated[int | None, typer.Option(min=1, metavar="K", help="Its best K configurations (default 3).")] = None,
    seeds: Annotated[int | None, typer.Option(min=1, metavar="N", help="Trainings of each (default 5).")] = None,
    again: Annotated[bool, typer.Option("--again", help="Make a further evaluation, with other seeds.")] = False,
    as_json: AsJson = False,
    storage: Storage = None,
) -> None:
    """Test a study's best configurations on the test images, once: train them anew, then show what came out."""
    from hpsearch.evaluation import evaluation, results
    from hpsearch.report import evaluation_tables

    with _database(storage) as database:
        asked, made = evaluation.request_evaluation(database, name, top, seeds, again=again)
        standing = results.read_status(database, asked)
    messages.tell_asked(standing, made)
    if as_json:
        console.print_json(results.make_document(standing))
    else:
        messages.print_evaluation(standing, storage)
    if not made:
        for line in evaluation_tables.describe_difference(standing, top, seeds):
            say(line)


@app.command()
def export(
    name: StudyName,
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="A directory that is not there yet, or is empty.")],
    storage: Storage = None,
) -> None:
    """Write a study's models as .keras files, with a README: its evaluation's, else the best its search has kept."""
    from hpsearch.evaluation import export

    with _database(storage) as database:
        messages.tell_exported(export.export(database, name, directory))


@app.command()
def report(
    name: StudyName,
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Where to write it (else NAME-report, here); replaces a report.")
    ] = None,
    storage: Storage = None,
) -> None:
    """Write what a study found, with how sure that is, as an HTML file and as Markdown with pictures."""
    from hpsearch.report import report

    place = out or report.choose_directory(name)
    report.check_directory(place)
    with _database(storage) as database:
        found = database.transact(lambda connection: report.read(connection, name))
    messages.tell_report(report.write(found, place))


@app.command()
def quickstart(storage: Storage = None) -> None:
    """Run a small search on this host from start to end, in a few minutes."""
    from hpsearch import devices
    from hpsearch.cli import quickstart

    device = devices.choose_device(None, False)
    with _database(storage, "hpsearch quickstart") as database:
        _tell_place("quickstart", database, str(device) if device else "CPU")
        with _display() as display:
            answer = quickstart.run(database, display, device)
    console.print_answer(answer)
    say("see every trial and curve in the dashboard:")
    say(f"  {console.name_program()} dashboard" + (" --storage URL" if storage else ""))


@database_commands.command("upgrade")
def upgrade(storage: Storage = None) -> None:
    """Make the tables, or bring those of an older hpsearch up to this one."""
    from hpsearch.storage.database import connect

    with connect(storage, prepare=False) as database:
        before = database.version()
        database.migrate()
        after = database.version()
    say(
        f"the tables in {database.name} are at version {after}"
        + (f" (before: {before or 'none'})" if before != after else "")
    )


@contextlib.contextmanager
def _database(storage: str | None, application: str = "hpsearch") -> Iterator["Database"]:
    from hpsearch.storage.database import connect

    with connect(storage, application) as database:
        yield database


@contextlib.contextmanager
def _display() -> Iterator["PlainProgress"]:
    from hpsearch.cli.training_progress import LiveProgress, PlainProgress

    terminal = console.make_console(stderr=True)
    if not terminal.is_terminal:
        yield PlainProgress(terminal)
        return
    with LiveProgress(terminal) as live:
        yield live


def main() -> NoReturn:
    """The command `hpsearch`: runs it and exits with one of `ExitCode`."""
    code: int = ExitCode.DONE
    stdio.prepare()
    try:
        code = app(standalone_mode=False) or ExitCode.DONE
        sys.stdout.flush()
    except typer.Exit as exit_:
        code = exit_.exit_code
    except TyperException as error:
        message = error.format_message() if hasattr(error, "format_message") else str(error)
        # Without arguments it is the help itself.
        say(message if message.startswith("Usage:") else f"hpsearch: {message or 'bad usage'} (see --help)")
        code = ExitCode.USAGE
    except HpsearchError as error:
        for line in str(error).splitlines():
            say(f"hpsearch: {line}" if not line.startswith(" ") else line)
        code = error.exit_code
    except (KeyboardInterrupt, typer.Abort):
        code = ExitCode.INTERRUPTED
    except stdio.ReaderLeftError:
        code = ExitCode.DONE
    sys.exit(code)


if __name__ == "__main__":
    main()

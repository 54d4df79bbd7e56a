"""Mirroring a study into an experiment tracker."""

import threading
from types import FrameType
from typing import TYPE_CHECKING, Annotated

import typer

from hpsearch import settings, signals
from hpsearch.cli import console
from hpsearch.cli.app import Storage, StudyName, app
from hpsearch.cli.context import open_database
from hpsearch.errors import ExitCode, UsageError
from hpsearch.formatting import format_count

if TYPE_CHECKING:
    from hpsearch.mirror.following import PassMaker, PassResult
    from hpsearch.mirror.tracker import Tracker
    from hpsearch.storage.database import Database
    from hpsearch.storage.studies import Study


@app.command()
def mirror(
    name: StudyName,
    mlflow: Annotated[str | None, typer.Option(metavar="URI", help="An MLflow tracking URI.")] = None,
    tensorboard: Annotated[str | None, typer.Option(metavar="DIR", help="A log directory of TensorBoard.")] = None,
    wandb: Annotated[str | None, typer.Option(metavar="PROJECT", help="A W&B project, or ENTITY/PROJECT.")] = None,
    webhook: Annotated[
        str | None, typer.Option(metavar="URL", help="Where to post what happens, such as a webhook of Slack's.")
    ] = None,
    insecure: Annotated[
        bool, typer.Option("--insecure", help="Post to http:// on other hosts, where anybody on the way reads it.")
    ] = False,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until the study is finished.")] = False,
    storage: Storage = None,
) -> None:
    """Show a study in MLflow, TensorBoard or W&B, or on a webhook.

    A run for each trial, with its epochs as steps, below one for the study. Stop and repeat it as you like: what is
    there is not written twice.
    """
    from hpsearch.storage import studies

    leave = threading.Event()
    given = [option for option in (mlflow, tensorboard, wandb, webhook) if option]
    address = settings.read_webhook(webhook) if webhook or not given else None
    if len(given) > 1 or not (given or address):
        raise UsageError("name one place: --mlflow URI, --tensorboard DIR, --wandb PROJECT or --webhook URL")
    with open_database(storage, "hpsearch mirror") as database, signals.handle(_make_handler(leave)):
        study = database.transact(lambda connection: studies.find(connection, name))
        if address:
            _post_events(database, study, address, leave, insecure=insecure, follow=follow)
        else:
            _write_runs(database, study, _open_tracker(mlflow, tensorboard, wandb), leave, follow=follow)


def _write_runs(
    database: "Database", study: "Study", tracker: "Tracker", leave: threading.Event, *, follow: bool
) -> None:
    from hpsearch.mirror.mirroring import Mirror

    try:
        mirrored = Mirror(database, study, tracker, leave, console.print_line)
        result = _make_passes(mirrored, leave, f"mirroring {study.name} to {tracker.destination}", follow=follow)
    finally:
        tracker.close()
    if result:
        new = format_count(result.epochs, "new epoch")
        console.print_line(f"{tracker.destination} has all of {study.name}, {new}")


def _post_events(
    database: "Database",
    study: "Study",
    address: settings.Setting,
    leave: threading.Event,
    *,
    insecure: bool,
    follow: bool,
) -> None:
    from hpsearch.mirror.webhook import open_webhook
    from hpsearch.mirror.webhook_mirror import WebhookMirror

    webhook = open_webhook(address, settings.read_webhook_secret(), insecure=insecure)
    mirrored = WebhookMirror(database, study, webhook, leave, follows=follow)
    result = _make_passes(mirrored, leave, f"posting events of {study.name} to {webhook.destination}", follow=follow)
    if result:
        new = format_count(result.runs, "new event")
        console.print_line(f"{webhook.destination} has all of {study.name}, {new}")


def _make_passes(mirrored: "PassMaker", leave: threading.Event, doing: str, *, follow: bool) -> "PassResult | None":
    """Make one pass, or all until the study is over, and return what they wrote; None where that was ended early.

    Raises:
        typer.Exit: the one pass was interrupted.
    """
    from hpsearch.mirror import following

    try:
        if follow:
            console.print_line(f"{doing} until it is finished (Ctrl-C ends it)")
            return following.follow(mirrored, leave, console.print_line)
        with console.explain_wait(doing):
            return following.run_once(mirrored, leave, console.print_line)
    except following.StopRequestedError:
        console.print_line("left: the same command goes on from here")
        if not follow:
            raise typer.Exit(ExitCode.INTERRUPTED) from None
        return None


def _make_handler(leave: threading.Event) -> signals.Handler:
    """Return a handler that asks to leave once the call under way is over; a second Ctrl-C or SIGTERM interrupts it."""

    def handle(number: int, frame: FrameType | None) -> None:
        if leave.is_set() and number not in signals.NOTICES:
            raise KeyboardInterrupt
        leave.set()

    return handle


def _open_tracker(mlflow: str | None, tensorboard: str | None, wandb: str | None) -> "Tracker":
    if mlflow:
        from hpsearch.mirror.mlflow_tracker import MlflowTracker

        return MlflowTracker(mlflow)
    if tensorboard:
        from hpsearch.mirror.tensorboard_tracker import TensorboardTracker

        return TensorboardTracker(tensorboard)
    from hpsearch.mirror.wandb_tracker import WandbTracker

    assert wandb is not None
    return WandbTracker(wandb)

"""Mirroring a study into an experiment tracker."""

import threading
from types import FrameType
from typing import TYPE_CHECKING, Annotated

import typer

from hpsearch import signals
from hpsearch.cli import console
from hpsearch.cli.app import Storage, StudyName, app
from hpsearch.cli.context import open_database
from hpsearch.errors import UsageError
from hpsearch.formatting import format_count

if TYPE_CHECKING:
    from hpsearch.mirror.tracker import Tracker


@app.command()
def mirror(
    name: StudyName,
    mlflow: Annotated[str | None, typer.Option(metavar="URI", help="An MLflow tracking URI.")] = None,
    tensorboard: Annotated[str | None, typer.Option(metavar="DIR", help="A log directory of TensorBoard.")] = None,
    wandb: Annotated[str | None, typer.Option(metavar="PROJECT", help="A W&B project, or ENTITY/PROJECT.")] = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until the study is finished.")] = False,
    storage: Storage = None,
) -> None:
    """Show a study in MLflow, TensorBoard or W&B.

    A run for each trial, with its epochs as steps, below one for the study. Stop and repeat it as you like: what is
    there is not written twice.
    """
    from hpsearch.mirror import following
    from hpsearch.mirror.following import StopRequestedError
    from hpsearch.mirror.mirroring import Mirror
    from hpsearch.storage import studies

    leave = threading.Event()
    with open_database(storage, "hpsearch mirror") as database, signals.handle(_make_handler(leave)):
        study = database.transact(lambda connection: studies.find(connection, name))
        tracker = _open_tracker(mlflow, tensorboard, wandb)
        mirrored = Mirror(database, study, tracker, leave, console.print_line)
        try:
            if follow:
                console.print_line(f"mirroring {name} to {tracker.destination} until it is finished (Ctrl-C ends it)")
                result = following.follow(mirrored, leave, console.print_line)
            else:
                with console.explain_wait(f"mirroring {name} to {tracker.destination}"):
                    result = following.run_once(mirrored, leave, console.print_line)
        except StopRequestedError:
            console.print_line("left: the same command goes on from here")
            return
        finally:
            tracker.close()
    console.print_line(f"{tracker.destination} has all of {name}, {format_count(result.epochs, 'new epoch')}")


def _make_handler(leave: threading.Event) -> signals.Handler:
    """Return a handler that asks to leave once the call under way is over; a second Ctrl-C or SIGTERM interrupts it."""

    def handle(number: int, frame: FrameType | None) -> None:
        if leave.is_set() and number not in signals.NOTICES:
            raise KeyboardInterrupt
        leave.set()

    return handle


def _open_tracker(mlflow: str | None, tensorboard: str | None, wandb: str | None) -> "Tracker":
    given = [option for option in (mlflow, tensorboard, wandb) if option]
    if len(given) != 1:
        raise UsageError("name one tracker: --mlflow URI, --tensorboard DIR or --wandb PROJECT")
    if mlflow:
        from hpsearch.mirror.mlflow_tracker import MlflowTracker

        return MlflowTracker(mlflow)
    if tensorboard:
        from hpsearch.mirror.tensorboard_tracker import TensorboardTracker

        return TensorboardTracker(tensorboard)
    from hpsearch.mirror.wandb_tracker import WandbTracker

    assert wandb is not None
    return WandbTracker(wandb)

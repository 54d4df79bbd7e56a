"""Training: a worker, and the quickstart with a worker of its own."""

import contextlib
from collections.abc import Iterator
from typing import Annotated

import typer

from hpsearch.cli import console
from hpsearch.cli.app import Cpu, GpuIndex, Storage, app
from hpsearch.cli.context import open_database, open_display, print_place
from hpsearch.errors import ExitCode, UsageError


@app.command()
def worker(
    gpu: GpuIndex = None,
    cpu: Cpu = False,
    study: Annotated[list[str] | None, typer.Option(metavar="NAME", help="Serve only this study; repeatable.")] = None,
    drain: Annotated[bool, typer.Option("--drain", help="Leave when no study has work left.")] = False,
    no_wait: Annotated[
        bool, typer.Option("--no-wait", help="With --drain: leave also while others train the last trials.")
    ] = False,
    trials: Annotated[int | None, typer.Option(min=1, help="Leave after so many trials.")] = None,
    slots: Annotated[int, typer.Option(min=1, help="Train so many trials at once, the device shared out.")] = 1,
    unfinished_code: Annotated[
        int, typer.Option(min=0, max=125, metavar="N", help="Exit with N when told to leave while there is work.")
    ] = 0,
    storage: Storage = None,
) -> None:
    """Train trials of all running studies, by their priority."""
    with _answer_early_requests(unfinished_code):
        from hpsearch import devices, signals
        from hpsearch.worker.timing import read_timing
        from hpsearch.worker.worker import Worker

        if no_wait and not drain:
            raise UsageError("--no-wait is about the end of the work: add --drain")
        device = devices.choose_device(gpu, cpu)
        timing = read_timing()
        with open_database(storage, "hpsearch worker") as database, open_display() as display:
            serving = Worker(
                database,
                display,
                gpu=device,
                study_names=study or (),
                drain=drain,
                no_wait=no_wait,
                trials=trials,
                slots=slots,
                timing=timing,
            )
            print_place("worker", database, serving.identity.device)
            serving.serve()
            if serving.identity.job:  # an engine goes on asking
                signals.ignore_requests()
            code = unfinished_code if unfinished_code and serving.is_unfinished() else ExitCode.DONE
    raise typer.Exit(code)


@contextlib.contextmanager
def _answer_early_requests(unfinished_code: int) -> Iterator[None]:
    """Exit with `unfinished_code`, where that is not 0, if the worker is told to leave before it hears of it itself."""
    try:
        yield
    except KeyboardInterrupt:
        raise typer.Exit(unfinished_code or ExitCode.INTERRUPTED) from None


@app.command()
def quickstart(storage: Storage = None) -> None:
    """Run a small search on this host, in a few minutes.

    On two free cores that is less than three.
    """
    from hpsearch import devices
    from hpsearch.cli import answer_view, quickstart

    device = devices.choose_device(None, False)
    with open_database(storage, "hpsearch quickstart") as database:
        print_place("quickstart", database, str(device) if device else "CPU")
        answer = quickstart.run(database, device)
    program, place = console.name_program(), " --storage URL" if storage else ""
    if answer is None:
        console.print_line("the search has trials left: the same command goes on with it")
    else:
        answer_view.print_in_sentences(answer)
        console.print_line("the same as a table:")
        console.print_line(f"  {program} answer {answer.summary.study.name}{place}")
    console.print_line("see every trial and curve in the dashboard:")
    console.print_line(f"  {program} dashboard{place}")

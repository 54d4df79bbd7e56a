"""What `hpsearch check` says: its lines and tables, of a report."""

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import MappingProxyType

from rich.markup import escape

from hpsearch.cli import console
from hpsearch.formatting import format_count, format_duration
from hpsearch.spec.branches import AXES
from hpsearch.training.protocol import Checking, Finding
from hpsearch.worker.precheck import WORKERS, PrecheckReport

Row = tuple[str, ...]

TITLES: Mapping[str, str] = MappingProxyType(
    {
        "build": "builds",
        "start": "a sound loss at the start",
        "gradient": "the right gradient",
        "heart": "learns 32 images by heart",
        "optimizer": "lowers the loss",
        "speed": "seconds an epoch",
    }
)
"""The checks in their order, as what is hoped for."""

MODEL = ("layer", "output shape", "weights", "percent")
BRANCHES = ("branch", "loss at start", "head × 0.01", "gradient error", "steps to learn 32", "s an epoch", "memory")
OPTIMIZERS = ("optimizer", "learning rate", "loss before", "after")


@contextmanager
def follow() -> Iterator[Callable[[PrecheckReport, Checking | None], None]]:
    """Show on stderr what is being checked, where it is a terminal, and a line for each check that is over."""
    out, under_way = console.make_console(stderr=True), ""
    with out.status("loading the framework and the images") as status:

        def tell(report: PrecheckReport, checking: Checking | None) -> None:
            nonlocal under_way
            if under_way and (checking is None or checking.check != under_way) and report.found(under_way):
                out.print(f"  {describe_finished_check(report, under_way)}", markup=False, soft_wrap=True)
            if checking:
                under_way = checking.check
                name = f"{TITLES[under_way]}? {checking.number}/{checking.count} {checking.branch}"
                status.update(escape(name))

        yield tell


def print_report(report: PrecheckReport) -> None:
    """The network, what was measured of its branches, and what the study will take, on stdout."""
    if report.layers:
        console.print_table(MODEL, list_layers(report))
    console.print_table(BRANCHES, list_branches(report))
    console.print_table(OPTIMIZERS, list_optimizers(report))
    sys.stdout.writelines(f"{line}\n" for line in describe_cost(report))
    sys.stdout.flush()
    if not report.faults:
        console.say(f"{report.spec.study.name}: no fault found")


def describe_finished_check(report: PrecheckReport, check: str) -> str:
    """A line about a check that is over: `builds: 84 of 84`."""
    found = report.found(check)
    sound = sum(finding.fault is None for finding in found)
    return f"{TITLES[check]}: {sound} of {len(found)}"


def list_layers(report: PrecheckReport) -> Iterator[Row]:
    """The base configuration's layers, and all of them together."""
    total = sum(layer.weights for layer in report.layers)
    for layer in report.layers:
        shape = " × ".join(str(size) for size in layer.shape)
        yield layer.name, shape, f"{layer.weights:,}", f"{100 * layer.weights / total:.1f}"
    yield "all", "", f"{total:,}", "100.0"


def list_branches(report: PrecheckReport) -> Iterator[Row]:
    """What was measured of each activation and batch norm; a dash where it could not be."""
    columns = [
        _column(report, "start", lambda figures: f"{figures['loss']:.3f}"),
        _column(report, "start", lambda figures: f"{figures['scaled']:.3f}"),
        _column(report, "gradient", lambda figures: f"{figures['error']:.0e}"),
        _column(report, "heart", lambda figures: f"{figures['steps']:.0f}"),
        _column(report, "speed", lambda figures: f"{figures['seconds']:.1f}"),
        _column(report, "speed", _memory),
    ]
    for name in dict.fromkeys(name for column in columns for name in column):
        yield name, *(column.get(name, "–") for column in columns)


def _column(report: PrecheckReport, check: str, shown: Callable[[Mapping[str, float]], str]) -> dict[str, str]:
    return {each.branch: (shown(each.figures) if each.figures else "–") for each in report.found(check)}


def _memory(figures: Mapping[str, float]) -> str:
    host = f"{figures['resident'] / 2**30:.1f} GiB"
    return f"{host}, GPU {figures['device'] / 2**30:.1f} GiB" if "device" in figures else host


def list_optimizers(report: PrecheckReport) -> Iterator[Row]:
    """The learning rate at which each optimizer lowered the loss, or the last one that was tried."""
    for each in report.found("optimizer"):
        yield each.branch.split()[0].removeprefix(f"{AXES[0]}="), *_lowered(each)


def _lowered(finding: Finding) -> Row:
    if not finding.figures:
        return "–", "–", "–"
    return f"{finding.figures['rate']:.3g}", *(f"{finding.figures[key]:.3f}" for key in ("before", "after"))


def describe_cost(report: PrecheckReport) -> Iterator[str]:
    """How long the study takes, on so many workers."""
    epoch, budget = report.epoch_seconds(), report.spec.budget
    if epoch is None:
        return
    times = [(workers, report.study_seconds(workers)) for workers in WORKERS]
    each = ", ".join(
        f"{format_duration(seconds)} on {workers} worker" + ("" if workers == 1 else "s")
        for workers, seconds in times
        if seconds is not None
    )
    yield (
        f"{format_count(budget.trials, 'trial')} × {format_count(budget.epochs, 'epoch')} × {epoch:.1f} s, "
        "the mean of the branches on this device "
        f"({report.device}): {each}, each with such a device"
    )
    sooner = ["trials that diverge"]
    if report.spec.pruner.name != "none":
        sooner.insert(0, "pruning")
    if budget.early_stopping is not None:
        sooner.append("early stopping")
    yield f"less with {' and '.join(sooner)}" + (
        f"; the search ends after {budget.hours:g} h at the latest" if budget.hours is not None else ""
    )

"""What `hpsearch check` prints of a report: lines and tables."""

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import MappingProxyType

from rich.markup import escape

from hpsearch.cli import console
from hpsearch.cli.data_view import describe_progress
from hpsearch.formatting import format_count, format_duration, make_printable
from hpsearch.spec.branches import list_axes
from hpsearch.training.protocol import Checking, DataProgress, Finding
from hpsearch.worker.local.precheck import WORKERS, PrecheckReport, Show

Row = tuple[str, ...]

TITLES: Mapping[str, str] = MappingProxyType(
    {
        "build": "builds",
        "start": "a plausible loss at the start",
        "gradient": "the right gradient",
        "overfit": "overfits a batch of 32 images",
        "optimizer": "lowers the loss",
        "resume": "resumes and loads as it was",
        "speed": "seconds per epoch",
    }
)
"""The checks in their order, as what passes them."""

MODEL = ("layer", "output shape", "weights", "percent")
BRANCHES = ("branch", "loss at start", "head × 0.01", "gradient error", "steps to overfit", "s per epoch", "memory")
OPTIMIZERS = ("optimizer", "learning rate", "loss before", "after")


@contextmanager
def show_progress() -> Iterator[Show]:
    """Show on stderr what is being checked, where it is a terminal, and a line for each check that is over."""
    out, current = console.make_console(stderr=True), ""
    with out.status("loading the framework and the images") as status:

        def show(report: PrecheckReport, checking: DataProgress | Checking | None) -> None:
            nonlocal current
            if isinstance(checking, DataProgress):
                status.update(describe_progress(checking))
                return
            if current and (checking is None or checking.check != current) and report.list_findings(current):
                out.print(f"  {describe_finished_check(report, current)}", markup=False, soft_wrap=True)
            if checking:
                current = checking.check
                name = f"{TITLES[current]}? {checking.number}/{checking.count} {checking.branch}"
                status.update(escape(make_printable(name)))

        yield show


def print_report(report: PrecheckReport) -> None:
    """Print the network, what was measured of its branches, and what the study will take, on stdout."""
    if report.layers:
        console.print_table(MODEL, list_layers(report))
    for columns, rows in ((BRANCHES, list_branches(report)), (OPTIMIZERS, list_optimizers(report))):
        if listed := list(rows):  # nothing where no branch builds
            console.print_table(columns, listed)
    for line in describe_cost(report):
        console.print_answer_line(line)
    sys.stdout.flush()
    for note in report.notes:
        console.print_line(note)
    if not report.faults:
        console.print_line(f"{report.spec.study.name}: no fault found")


def describe_finished_check(report: PrecheckReport, check: str) -> str:
    """Return a line about a check that is over: `builds: 84 of 84`."""
    findings = report.list_findings(check)
    passed = sum(finding.fault is None for finding in findings)
    return f"{TITLES[check]}: {passed} of {len(findings)}"


def list_layers(report: PrecheckReport) -> Iterator[Row]:
    """Yield the base configuration's layers, and their sum."""
    total = sum(layer.weights for layer in report.layers)
    for layer in report.layers:
        shape = " × ".join(str(size) for size in layer.shape)
        yield layer.name, shape, f"{layer.weights:,}", f"{100 * layer.weights / total:.1f}"
    yield "all", "", f"{total:,}", "100.0"


def list_branches(report: PrecheckReport) -> Iterator[Row]:
    """Yield what was measured of each activation and batch norm; a dash where it could not be."""
    columns = [
        _column(report, "start", lambda figures: f"{figures['loss']:.3f}"),
        _column(report, "start", lambda figures: f"{figures['scaled']:.3f}" if "scaled" in figures else "–"),
        _column(report, "gradient", lambda figures: f"{figures['error']:.0e}"),
        _column(report, "overfit", lambda figures: f"{figures['steps']:.0f}"),
        _column(report, "speed", lambda figures: f"{figures['seconds']:.1f}"),
        _column(report, "speed", _format_memory),
    ]
    for name in dict.fromkeys(name for column in columns for name in column):
        yield name, *(column.get(name, "–") for column in columns)


def _column(report: PrecheckReport, check: str, show: Callable[[Mapping[str, float]], str]) -> dict[str, str]:
    return {
        finding.branch: (show(finding.figures) if finding.figures else "–") for finding in report.list_findings(check)
    }


def _format_memory(figures: Mapping[str, float]) -> str:
    host = f"{figures['resident'] / 2**30:.1f} GiB"
    return f"{host}, GPU {figures['device'] / 2**30:.1f} GiB" if "device" in figures else host


def list_optimizers(report: PrecheckReport) -> Iterator[Row]:
    """Yield the learning rate at which each optimizer lowered the loss, or the last one that was tried."""
    axes = list_axes(report.spec)
    optimizers = {branch.format_name(axes): str(branch.values["optimizer"]) for branch in report.branches}
    for finding in report.list_findings("optimizer"):
        yield optimizers[finding.branch], *_list_losses(finding)


def _list_losses(finding: Finding) -> Row:
    if not finding.figures:
        return "–", "–", "–"
    return f"{finding.figures['rate']:.3g}", *(f"{finding.figures[key]:.3f}" for key in ("before", "after"))


def describe_cost(report: PrecheckReport) -> Iterator[str]:
    """Yield how long the study takes on one worker and on several, and what may shorten it."""
    epoch, budget = report.estimate_epoch_seconds(), report.spec.budget
    if epoch is None:
        return
    times = [(workers, report.estimate_study_seconds(workers)) for workers in WORKERS]
    durations = ", ".join(
        f"{format_duration(seconds)} on {format_count(workers, 'worker')}"
        for workers, seconds in times
        if seconds is not None
    )
    yield (
        f"{format_count(budget.trials, 'trial')} × {format_count(budget.epochs, 'epoch')} × {epoch:.1f} s, "
        "the mean of the branches on this device "
        f"({report.device}): {durations}, each with such a device"
    )
    shortened_by = ["trials at chance"]
    if report.spec.pruner.name != "none":
        shortened_by.insert(0, "pruning")
    if budget.early_stopping is not None:
        shortened_by.append("early stopping")
    yield f"less with {' and '.join(shortened_by)}" + (
        f"; the search ends after {budget.hours:g} h at the latest" if budget.hours is not None else ""
    )

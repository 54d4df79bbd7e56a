"""The sections of a report on how the search went: when and where trials ran, how they ended, and with what."""

import json
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from hpsearch.analysis import class_balance
from hpsearch.formatting import capitalize, format_count
from hpsearch.outcomes import FOREIGN, TrialOutcome, TrialState
from hpsearch.plotting import timeline
from hpsearch.plotting.timeline import WorkerUtilization
from hpsearch.report.document import Block, CodeBlock, Paragraph, ReportSection, Table, make_figure_block
from hpsearch.report.material import ReportMaterial
from hpsearch.report.mixed_precision import describe_mixed_precision
from hpsearch.spec.datasets import DataFacts
from hpsearch.storage import results
from hpsearch.storage.results import Trial

MAX_WORKERS = 50
"""Rows of the table of workers."""
MAX_REASONS = 12
"""Rows of the table of failures."""
MAX_REASON_LENGTH = 300
"""Characters of a reason."""
MAX_TRIALS_NAMED = 8
"""Trials named for a reason."""
MAX_DEVICES = 50
"""Rows of the table of devices."""
MAX_CLASSES = 40
"""Rows of the table of classes."""


def describe_utilization(material: ReportMaterial) -> ReportSection:
    """Show the timeline, and how busy the workers were."""
    title = "Timeline and utilization"
    bars = timeline.list_bars(material.trials, material.now)
    if not bars:
        return ReportSection(title, (Paragraph("No worker has taken a trial yet."),))
    workers = timeline.measure_utilization(bars)
    busy, present = sum(worker.busy for worker in workers), sum(worker.span for worker in workers)
    summary = (
        f"{format_count(len(workers), 'worker')} worked on trials for {_format_hours(busy)} of the "
        f"{_format_hours(present)} between each one's first and last ({busy / present if present else 1:.0%}); the "
        f"search took {_format_hours(max(bar.end for bar in bars))} from the first trial's start."
    )
    shown = timeline.MAX_WORKERS
    cut = (
        f" Only the {shown} workers with the most attempts of {len(workers)} are drawn." if len(workers) > shown else ""
    )
    caption = f"Each row is a worker, each bar an attempt at a trial, by how it ended.{cut}"
    figure = make_figure_block("timeline", caption, timeline.plot_timeline(bars))
    return ReportSection(title, (Paragraph(summary), figure, _tabulate_workers(workers)))


def _tabulate_workers(workers: Sequence[WorkerUtilization]) -> Table:
    columns: tuple[str, ...] = ("worker", "attempts", "epochs", "with a trial", "between first and last", "utilization")
    rows: list[tuple[str, ...]] = [
        (
            worker.name,
            str(worker.attempts),
            str(worker.epochs),
            _format_hours(worker.busy),
            _format_hours(worker.span),
            f"{worker.share:.0%}",
        )
        for worker in workers[:MAX_WORKERS]
    ]
    if any(worker.job for worker in workers):
        columns = (*columns, "job")
        rows = [(*row, worker.job or "") for row, worker in zip(rows, workers, strict=False)]
    if len(workers) > MAX_WORKERS:
        rows.append((f"and {len(workers) - MAX_WORKERS} more", *[""] * (len(columns) - 1)))
    return Table(columns, tuple(rows), "The workers")


def _format_hours(hours: float) -> str:
    """Return `45 s`, `90 min`, `12.5 h`."""
    if hours * 3600 < 100:
        return f"{hours * 3600:.0f} s"
    return f"{hours * 60:.0f} min" if hours < 2 else f"{hours:.1f} h"


def describe_endings(material: ReportMaterial) -> ReportSection:
    """Count how the trials ended, and say why those that failed did."""
    trials = material.trials
    endings = Counter(_name_ending(trial) for trial in trials)
    if not endings:
        return ReportSection("Endings", (Paragraph("There is no trial yet."),))
    rows = tuple((ending, str(count), f"{count / len(trials):.0%}") for ending, count in endings.most_common())
    blocks: list[Block] = [Table(("ending", "trials", "of all"), rows)]
    retried = {trial.retry_of for trial in trials if trial.retry_of is not None}
    repeated = sum(len(trial.history) > 1 for trial in trials)
    if repeated or retried:
        failed = f"{format_count(len(retried), 'failed trial')} {'was' if len(retried) == 1 else 'were'} retried"
        blocks.append(Paragraph(f"{format_count(repeated, 'trial')} took more than one attempt; {failed}."))
    reasons = _list_reasons(trials)
    if reasons:
        blocks.append(Table(("ending", "why", "trials", "which"), reasons, "Why trials failed"))
    return ReportSection("Endings", tuple(blocks))


def _name_ending(trial: Trial) -> str:
    """Return how a trial ended, or its state where it has not, for a reader."""
    ending = TrialOutcome(trial.outcome).label if trial.outcome else TrialState(trial.state).label
    return f"{ending}, {FOREIGN}" if trial.is_foreign else ending


def _list_reasons(trials: Sequence[Trial]) -> tuple[tuple[str, ...], ...]:
    """Return rows of ending, reason, how many trials and which ones, the most frequent first."""
    groups: dict[tuple[str, str], list[int]] = defaultdict(list)
    for trial in trials:
        ordinary = trial.outcome in {None, TrialOutcome.COMPLETED, TrialOutcome.PRUNED}
        if not ordinary or trial.state == TrialState.FAILED:
            reason = trial.detail or "it was ended by another program"
            if len(reason) > MAX_REASON_LENGTH:
                reason = f"{reason[:MAX_REASON_LENGTH]}…"
            groups[(_name_ending(trial), reason)].append(trial.number)
    ordered = sorted(groups.items(), key=lambda entry: -len(entry[1]))
    rows = [
        (ending, reason, str(len(numbers)), _format_numbers(numbers))
        for (ending, reason), numbers in ordered[:MAX_REASONS]
    ]
    if others := ordered[MAX_REASONS:]:
        trials_left = sum(len(numbers) for _, numbers in others)
        rows.append(("others", format_count(len(others), "more reason"), str(trials_left), ""))
    return tuple(rows)


def _format_numbers(numbers: Sequence[int]) -> str:
    return ", ".join(map(str, numbers[:MAX_TRIALS_NAMED])) + (", …" if len(numbers) > MAX_TRIALS_NAMED else "")


def describe_environment(material: ReportMaterial) -> ReportSection:
    """List versions, devices, hosts, data and seeds, and the study as it was described."""
    study = material.summary.study
    best = material.answer.findings.best
    facts = [
        ("study", study.name),
        ("fingerprint of the search", study.fingerprint),
        ("data", study.spec.data.title),
        ("fingerprint of the data", study.data_fingerprint or "not known yet: no worker has loaded them"),
        ("seed of the study", str(study.spec.study.seed)),
    ]
    if best and "seed" in best.made_by:
        facts.append((f"seed of trial {best.number}, the best", str(best.made_by["seed"])))
    blocks: list[Block] = [Table(("", ""), tuple(facts))]
    blocks += [
        table for table in (_tabulate_versions(material.trials), _tabulate_devices(material.trials)) if table.rows
    ]
    if mixed := describe_mixed_precision(results.count_precisions(material.trials)):
        blocks.append(Paragraph(f"{capitalize(mixed)}."))
    if study.spec.facts:
        blocks.append(_tabulate_classes(study.spec.facts))
    blocks.append(Paragraph("The study, with every default that was in force:"))
    blocks.append(CodeBlock("\n".join(_list_spec_lines(study.spec.to_json()))))
    return ReportSection("Environment", tuple(blocks))


def _tabulate_classes(facts: DataFacts) -> Table:
    rows = tuple(
        (row.name, f"{row.training:,}", f"{row.validation:,}", f"{row.test:,}")
        for row in class_balance.list_classes(facts, MAX_CLASSES)
    )
    height, width, channels = facts.shape
    caption = f"Images of each class, {height} × {width} pixels with {format_count(channels, 'channel')}"
    if len(rows) < len(facts.classes):
        caption += f"; the commonest and the rarest of {len(facts.classes):,} classes"
    return Table(("class", "training", "validation", "test"), rows, caption)


def _tabulate_versions(trials: Sequence[Trial]) -> Table:
    counts: Counter[str] = Counter()
    for trial in trials:
        if trial.made_by:
            versions = [f"{name} {version}" for name, version in trial.made_by.get("versions", {}).items()]
            backend = [trial.made_by.get("backend") or "unknown", trial.made_by.get("precision", "")]
            counts[", ".join(["backend " + " in ".join(filter(None, backend)), *versions])] += 1
    rows = tuple((software, str(count)) for software, count in counts.most_common())
    return Table(("software", "trials"), rows, "Versions")


def _tabulate_devices(trials: Sequence[Trial]) -> Table:
    attempts, epochs = Counter[tuple[str, str]](), Counter[tuple[str, str]]()
    for trial in trials:
        for attempt in trial.history:
            attempts[attempt.host, attempt.device] += 1
            epochs[attempt.host, attempt.device] += attempt.epochs
    rows = tuple(
        (host, device, str(count), str(epochs[host, device]))
        for (host, device), count in attempts.most_common(MAX_DEVICES)
    )
    return Table(("host", "device", "attempts", "epochs"), rows, "Hosts and devices")


def _list_spec_lines(spec: Mapping[str, Any]) -> Iterator[str]:
    """Yield the lines of a study file, nearly, that describes the stored study."""
    for section in ("study", "budget", "data", "fixed"):
        if spec[section]:
            yield f"[{section}]"
            yield from (f"{key} = {_format_value(value)}" for key, value in spec[section].items() if value is not None)
            yield ""
    yield "[space]"
    for entry in spec["space"]:
        options = {key: value for key, value in entry.items() if key != "name" and value is not None}
        only_choices = list(options) == ["choices"]
        yield f"{entry['name']} = {_format_value(options['choices'] if only_choices else options)}"
    for section in ("sampler", "pruner"):
        yield from ("", f"[{section}]", f"name = {_format_value(spec[section]['name'])}")
        yield from (f"{key} = {_format_value(value)}" for key, value in spec[section]["options"].items())
    for baseline in spec["baselines"]:
        yield from ("", "[[baseline]]", *(f"{key} = {_format_value(value)}" for key, value in baseline.items()))


def _format_value(value: object) -> str:
    """Return a value as TOML writes it."""
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{key} = {_format_value(item)}" for key, item in value.items()) + " }"
    return json.dumps(value, ensure_ascii=False)

"""The chapters of a report on how the search went: when and where trials ran, how they ended, and with what."""

import json
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from hpsearch.formatting import format_count
from hpsearch.plotting import timeline
from hpsearch.plotting.timeline import TimelineBar
from hpsearch.report.document import Block, Listing, Paragraph, ReportSection, Table, make_figure_block
from hpsearch.report.hyperparameter_sections import ReportMaterial
from hpsearch.storage.results import Trial

MOST_REASONS = 12
"""Rows of the table of failures."""


def course(made: ReportMaterial) -> ReportSection:
    """The timeline, and how busy the workers were."""
    held = timeline.list_bars(made.trials, made.now)
    if not held:
        return ReportSection("Timeline and utilization", (Paragraph("No worker has taken a trial yet."),))
    used = timeline.measure_utilization(held)
    busy, there = sum(use.busy for use in used), sum(use.span for use in used)
    span = max(hold.end for hold in held)
    said = (
        f"{len(used)} worker{'s' * (len(used) != 1)} held trials for {_hours(busy)} of the {_hours(there)} between "
        f"each one's first and last ({busy / there if there else 1:.0%}); the search took {_hours(span)} from the "
        "first trial's start."
    )
    blocks: list[Block] = [Paragraph(said)]
    most = timeline.MAX_WORKERS
    cut = f" Only the {most} workers with the most attempts of {len(used)} are drawn." if len(used) > most else ""
    caption = f"A row a worker, a bar an attempt at a trial, by how it ended.{cut}"
    blocks += [make_figure_block("timeline", caption, timeline.plot_timeline(held)), _uses(held)]
    return ReportSection("Timeline and utilization", tuple(blocks))


def _uses(held: Sequence[TimelineBar]) -> Table:
    used = timeline.measure_utilization(held)
    head = ("worker", "attempts", "epochs", "with a trial", "between first and last", "utilization")
    rows = [(u.name, str(u.attempts), str(u.epochs), _hours(u.busy), _hours(u.span), f"{u.share:.0%}") for u in used]
    more = [(f"and {len(rows) - 50} more", "", "", "", "", "")] if len(rows) > 50 else []
    return Table(head, (*rows[:50], *more), "The workers")


def _hours(hours: float) -> str:
    if hours * 3600 < 100:
        return f"{hours * 3600:.0f} s"
    return f"{hours * 60:.0f} min" if hours < 2 else f"{hours:.1f} h"


def endings(made: ReportMaterial) -> ReportSection:
    """How the trials ended, and why those that failed did."""
    kinds = Counter(trial.outcome or trial.state for trial in made.trials)
    if not kinds:
        return ReportSection("Endings", (Paragraph("There is no trial yet."),))
    retried = {trial.retry_of for trial in made.trials if trial.retry_of is not None}
    rows = tuple(
        (kind.replace("_", " "), str(count), f"{count / len(made.trials):.0%}") for kind, count in kinds.most_common()
    )
    blocks: list[Block] = [Table(("ending", "trials", "of all"), rows)]
    again = sum(len(trial.history) > 1 for trial in made.trials)
    if again or retried:
        failed = f"{format_count(len(retried), 'failed trial')} {'was' if len(retried) == 1 else 'were'} retried"
        blocks.append(Paragraph(f"{format_count(again, 'trial')} took more than one attempt; {failed}."))
    reasons = _reasons(made.trials)
    if reasons:
        blocks.append(Table(("ending", "why", "trials", "which"), reasons, "Why trials failed"))
    return ReportSection("Endings", tuple(blocks))


def _reasons(trials: Sequence[Trial]) -> tuple[tuple[str, ...], ...]:
    found: dict[tuple[str, str], list[int]] = defaultdict(list)
    for trial in trials:
        if trial.outcome not in {None, "completed", "pruned"} or trial.state == "failed":
            why = trial.detail or "it was ended by another program"
            found[(trial.outcome or trial.state, why if len(why) <= 300 else f"{why[:300]}…")].append(trial.number)
    ordered = sorted(found.items(), key=lambda entry: -len(entry[1]))
    rows = [(kind.replace("_", " "), why, str(len(n)), _few(n)) for (kind, why), n in ordered[:MOST_REASONS]]
    if len(ordered) > MOST_REASONS:
        left = ordered[MOST_REASONS:]
        rows.append(("others", format_count(len(left), "more reason"), str(sum(len(n) for _, n in left)), ""))
    return tuple(rows)


def _few(numbers: Sequence[int]) -> str:
    return ", ".join(map(str, numbers[:8])) + (", …" if len(numbers) > 8 else "")


def environment(made: ReportMaterial) -> ReportSection:
    """Versions, devices, hosts, data, seeds, and the study as it was described."""
    study = made.summary.study
    best = made.findings.best
    facts = [
        ("study", study.name),
        ("fingerprint of the search", study.fingerprint),
        ("data", study.spec.data.name),
        ("fingerprint of the data", study.data_fingerprint or "not known yet: no worker has loaded them"),
        ("seed of the study", str(study.spec.study.seed)),
    ]
    if best and "seed" in best.made_by:
        facts.append((f"seed of trial {best.number}, the best", str(best.made_by["seed"])))
    blocks: list[Block] = [Table(("", ""), tuple(facts))]
    blocks += [table for table in (_versions(made.trials), _devices(made.trials)) if table.rows]
    blocks.append(Paragraph("The study, with every default that was in force:"))
    blocks.append(Listing("\n".join(_lines(study.spec.to_json()))))
    return ReportSection("Environment", tuple(blocks))


def _versions(trials: Sequence[Trial]) -> Table:
    found: Counter[str] = Counter()
    for trial in trials:
        if trial.made_by:
            versions = [f"{name} {version}" for name, version in trial.made_by.get("versions", {}).items()]
            backend = [trial.made_by.get("backend") or "unknown", trial.made_by.get("precision", "")]
            found[", ".join(["backend " + " in ".join(filter(None, backend)), *versions])] += 1
    return Table(("software", "trials"), tuple((said, str(count)) for said, count in found.most_common()), "Versions")


def _devices(trials: Sequence[Trial]) -> Table:
    attempts, epochs = Counter[tuple[str, str]](), Counter[tuple[str, str]]()
    for trial in trials:
        for each in trial.history:
            attempts[each.host, each.device] += 1
            epochs[each.host, each.device] += each.epochs
    rows = tuple((host, device, str(n), str(epochs[host, device])) for (host, device), n in attempts.most_common(50))
    return Table(("host", "device", "attempts", "epochs"), rows, "Hosts and devices")


def _lines(spec: Mapping[str, Any]) -> Iterator[str]:
    """The spec, nearly as a study file would have it."""
    for section in ("study", "budget", "data", "fixed"):
        if spec[section]:
            yield f"[{section}]"
            yield from (f"{key} = {_value(value)}" for key, value in spec[section].items() if value is not None)
            yield ""
    yield "[space]"
    for entry in spec["space"]:
        rest = {key: value for key, value in entry.items() if key != "name" and value is not None}
        alone = list(rest) == ["choices"]
        yield f"{entry['name']} = {_value(rest['choices']) if alone else _value(rest)}"
    for section in ("sampler", "pruner"):
        yield from ("", f"[{section}]", f"name = {_value(spec[section]['name'])}")
        yield from (f"{key} = {_value(value)}" for key, value in spec[section]["options"].items())
    for baseline in spec["baselines"]:
        yield from ("", "[[baseline]]", *(f"{key} = {_value(value)}" for key, value in baseline.items()))


def _value(value: object) -> str:
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{key} = {_value(each)}" for key, each in value.items()) + " }"
    return json.dumps(value, ensure_ascii=False)

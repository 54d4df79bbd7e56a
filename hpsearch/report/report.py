"""A study's report: one HTML file that needs nothing else, and the same as Markdown with pictures."""

import hashlib
import re
import shutil
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from hpsearch.analysis import findings, importance
from hpsearch.errors import UsageError
from hpsearch.evaluation.results import EvaluationStatus, read_statuses
from hpsearch.markdown import escape, fence_code
from hpsearch.report import hyperparameter_sections, run_sections, test_section
from hpsearch.report.document import Figure, ReportSection
from hpsearch.report.hyperparameter_sections import ReportMaterial
from hpsearch.storage import results
from hpsearch.storage.database import Connection, read_clock
from hpsearch.storage.results import Summary, Trial

HTML, MARKDOWN, PICTURES = "report.html", "report.md", "pictures"
GENERATOR = "hpsearch report"
"""How a report is known as one of ours."""
WIDEST = 1_080
"""Pixels of a figure that says no width of its own."""
HEAD = 2_000
"""Bytes of a report within which it says so."""

STRICT: Mapping[str, Any] = {"undefined": StrictUndefined, "trim_blocks": True, "lstrip_blocks": True}

BEFORE = (hyperparameter_sections.question, hyperparameter_sections.answer)
MIDDLE = (
    hyperparameter_sections.importances,
    hyperparameter_sections.effects,
    hyperparameter_sections.curves,
    hyperparameter_sections.rate,
    hyperparameter_sections.gap,
    hyperparameter_sections.cost,
)
AFTER = (run_sections.course, hyperparameter_sections.confusions, run_sections.endings, run_sections.environment)


@dataclass(frozen=True)
class RenderedFigure:
    """A figure as the page has it; `height` in pixels, and the `width` beyond which it does not grow."""

    json: Markup
    height: int
    width: int


@dataclass(frozen=True)
class ReportSource:
    """What a report is about, all read in one transaction; `now` is the server's clock."""

    summary: Summary
    trials: Sequence[Trial]
    evaluations: Sequence[EvaluationStatus]
    now: datetime


def read(connection: Connection, name: str) -> ReportSource:
    """What there is to report.

    Raises:
        NotFoundError: there is no such study.
    """
    summary, trials = results.read(connection, name)
    return ReportSource(summary, trials, read_statuses(connection, summary), read_clock(connection))


def prepare_material(source: ReportSource) -> ReportMaterial:
    """The source with what is computed from it."""
    told = source.summary, source.trials
    return ReportMaterial(
        *told, findings.analyze_study(*told), importance.compute_importance(*told), source.evaluations, source.now
    )


def list_figures(found: ReportMaterial) -> list[Figure]:
    """The report's figures, in order."""
    return [block for section in list_sections(found) for block in section.blocks if isinstance(block, Figure)]


def choose_directory(name: str) -> Path:
    """Where the report of that study goes when nobody says where: a name that is one on any file system."""
    slug = re.sub(r"[^A-Za-z0-9_.]+", "-", name).strip("-.")[:60]
    changed = f"-{hashlib.sha256(name.encode()).hexdigest()[:8]}" if slug != name else ""
    return Path(f"{slug or 'study'}{changed}-report")


def check_directory(place: Path) -> None:
    """See whether a report can go to `place`: where there is nothing, an empty directory or an older report.

    Raises:
        UsageError: something else is there.
    """
    try:
        if not place.exists() or (place.is_dir() and (_ours(place) or not any(place.iterdir()))):
            return
    except OSError as error:
        raise _unwritable(place, error) from None
    what = "holds something else than a report" if place.is_dir() else "is no directory"
    raise UsageError(f"{place} {what}: name another with --out, or move it away")


def _ours(place: Path) -> bool:
    page = place / HTML
    if not page.is_file() or {entry.name for entry in place.iterdir()} - {HTML, MARKDOWN, PICTURES}:
        return False
    with page.open("rb") as file:
        return f'content="{GENERATOR}"'.encode() in file.read(HEAD)


def write(source: ReportSource, place: Path) -> Path:
    """Write the report to `place`, whole or not at all, in the stead of an older one; the path of its page.

    Raises:
        UsageError: something else is there, or it cannot be written.
    """
    check_directory(place)
    found = prepare_material(source)
    place = place.resolve()
    fresh = place.with_name(f".{place.name[:60]}-{uuid.uuid4().hex[:8]}")
    try:
        fresh.mkdir(parents=True)
        try:
            _fill(fresh, found)
            _exchange(fresh, place)
        finally:
            shutil.rmtree(fresh, ignore_errors=True)
    except OSError as error:
        raise _unwritable(place, error) from None
    return place / HTML


def _unwritable(place: Path, error: OSError) -> UsageError:
    return UsageError(f"the report cannot be written to {place} ({error.strerror or error}): name a place with --out")


def _exchange(fresh: Path, place: Path) -> None:
    """Put `fresh` where `place` is; what was there goes only once the new report stands."""
    old = fresh.with_name(f"{fresh.name}-old")
    if place.exists():
        place.rename(old)
    try:
        fresh.rename(place)
    except OSError:
        if old.exists():
            old.rename(place)
        raise
    shutil.rmtree(old, ignore_errors=True)


def list_sections(found: ReportMaterial) -> list[ReportSection]:
    """Everything the report says, in order."""
    return [
        *(chapter(found) for chapter in BEFORE),
        *test_section.describe_test(found.evaluations),
        *(chapter(found) for chapter in MIDDLE),
        *hyperparameter_sections.together(found),
        *(chapter(found) for chapter in AFTER),
    ]


def describe_making(found: ReportMaterial) -> str:
    """When the report was made, and how far the study was."""
    counts, budget = found.summary.counts, found.summary.study.spec.budget.trials
    over = sum(counts[state] for state in ("complete", "pruned", "failed"))
    kinds = ", ".join(f"{count} {state}" for state, count in counts.items() if count)
    return (
        f"Made {found.now.astimezone(UTC):%Y-%m-%d %H:%M} UTC by hpsearch. The study is {found.summary.status}: "
        f"{over} of {budget} trials have ended{f' ({kinds})' if kinds else ''}."
    )


def _fill(fresh: Path, found: ReportMaterial) -> None:
    said = list_sections(found)
    figures = [block for section in said for block in section.blocks if isinstance(block, Figure)]
    told = {"name": found.summary.study.name, "made": describe_making(found), "sections": said}
    page = _pages().get_template("report.html.j2")
    drawn = {figure.name: _drawn(figure) for figure in figures}
    # Both come from plotly, which takes care that no text in them ends the script.
    plotly = Markup(get_plotlyjs())  # noqa: S704
    html = page.render(**told, figures=drawn, plotly=plotly, generator=GENERATOR)
    (fresh / HTML).write_text(html, encoding="utf-8")
    markdown = _texts().get_template("report.md.j2").render(**told, pictures=PICTURES)
    (fresh / MARKDOWN).write_text(re.sub(r"\n{3,}", "\n\n", markdown), encoding="utf-8")
    (fresh / PICTURES).mkdir()
    for figure in figures:
        (fresh / PICTURES / f"{figure.name}.png").write_bytes(figure.png())


def _drawn(figure: Figure) -> RenderedFigure:
    made_ = figure.plotly()
    width = int((made_.layout.meta or {}).get("width", WIDEST))
    return RenderedFigure(Markup(made_.to_json()), int(made_.layout.height), width)  # noqa: S704


def _pages() -> Environment:
    return Environment(loader=PackageLoader("hpsearch.report"), autoescape=True, **STRICT)


def _texts() -> Environment:
    """Whose every expression is escaped for Markdown, but for what is marked as that already."""
    environment = Environment(loader=PackageLoader("hpsearch.report"), autoescape=False, **STRICT)  # noqa: S701
    environment.finalize = lambda value: value if isinstance(value, Markup) else escape(str(value))
    environment.filters["fenced"] = lambda code: Markup(fence_code(code))  # noqa: S704 - Markdown, not HTML
    return environment

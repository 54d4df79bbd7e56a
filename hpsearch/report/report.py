"""The report of a study: one HTML file that needs no other, and the same as Markdown with pictures."""

import hashlib
import re
import shutil
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from hpsearch.errors import UsageError
from hpsearch.markdown import escape, fence_code
from hpsearch.report import ablation_section, answer_sections, hyperparameter_sections, run_sections, test_section
from hpsearch.report.document import Figure, ReportSection
from hpsearch.report.material import ReportMaterial, ReportSource, prepare_material

HTML, MARKDOWN, PICTURES = "report.html", "report.md", "pictures"
GENERATOR = "hpsearch report"
"""By this in its head, an HTML file is recognized as a report."""
HEAD_BYTES = 2_000
"""Bytes of a report within which `GENERATOR` stands."""
MAX_WIDTH = 1_080
"""Pixels of a figure that says no width of its own."""

STRICT: Mapping[str, Any] = {"undefined": StrictUndefined, "trim_blocks": True, "lstrip_blocks": True}


@dataclass(frozen=True)
class RenderedFigure:
    """A figure as plotly's JSON; `height` in pixels, and the `width` beyond which it does not grow."""

    json: Markup
    height: int
    width: int


def list_sections(material: ReportMaterial) -> list[ReportSection]:
    """Return everything the report says, in order."""
    return [
        answer_sections.describe_question(material),
        answer_sections.describe_answer(material),
        *test_section.describe_test(material.evaluations),
        *ablation_section.describe_ablation(material.ablation),
        answer_sections.describe_importance(material),
        *answer_sections.compare_levels(material),
        hyperparameter_sections.describe_effects(material),
        hyperparameter_sections.describe_curves(material),
        hyperparameter_sections.describe_rate(material),
        hyperparameter_sections.describe_gap(material),
        hyperparameter_sections.describe_cost(material),
        *hyperparameter_sections.plot_search_space(material),
        run_sections.describe_utilization(material),
        hyperparameter_sections.describe_confusions(material),
        run_sections.describe_endings(material),
        run_sections.describe_environment(material),
    ]


def list_figures(material: ReportMaterial) -> list[Figure]:
    """Return the report's figures, in order."""
    return [block for section in list_sections(material) for block in section.blocks if isinstance(block, Figure)]


def describe_progress(material: ReportMaterial) -> str:
    """Say when the report was made, and how far the study was."""
    summary = material.summary
    states = summary.describe_counts()
    return (
        f"Made {material.now.astimezone(UTC):%Y-%m-%d %H:%M} UTC by hpsearch. The study is {summary.status}: "
        f"{summary.ended} of {summary.study.spec.budget.trials} trials have ended{f' ({states})' if states else ''}."
    )


def choose_directory(name: str) -> Path:
    """Return where the report of the study `name` goes by default: a name that any file system takes."""
    slug = re.sub(r"[^A-Za-z0-9_.]+", "-", name).strip("-.")[:60]
    suffix = f"-{hashlib.sha256(name.encode()).hexdigest()[:8]}" if slug != name else ""
    return Path(f"{slug or 'study'}{suffix}-report")


def check_directory(directory: Path) -> None:
    """Check that a report can go to `directory`: there is nothing, an empty directory or an older report.

    Raises:
        UsageError: something else is there.
    """
    try:
        if not directory.exists():
            return
        if directory.is_dir() and (_is_report(directory) or not any(directory.iterdir())):
            return
    except OSError as error:
        raise _make_error(directory, error) from None
    fault = "holds something else than a report" if directory.is_dir() else "is not a directory"
    raise UsageError(f"{directory} {fault}: name another with --out, or move it away")


def _is_report(directory: Path) -> bool:
    page = directory / HTML
    if not page.is_file() or {entry.name for entry in directory.iterdir()} - {HTML, MARKDOWN, PICTURES}:
        return False
    with page.open("rb") as file:
        return f'content="{GENERATOR}"'.encode() in file.read(HEAD_BYTES)


def write(source: ReportSource, directory: Path) -> Path:
    """Write the report to `directory`, completely or not at all, in place of an older one; return its page's path.

    Raises:
        UsageError: something else is there, or it cannot be written.
    """
    check_directory(directory)
    material = prepare_material(source)
    directory = directory.resolve()
    draft = directory.with_name(f".{directory.name[:60]}-{uuid.uuid4().hex[:8]}")
    try:
        draft.mkdir(parents=True)
        try:
            _write_files(draft, material)
            _replace(draft, directory)
        finally:
            shutil.rmtree(draft, ignore_errors=True)
    except OSError as error:
        raise _make_error(directory, error) from None
    return directory / HTML


def _make_error(directory: Path, error: OSError) -> UsageError:
    reason = error.strerror or error
    return UsageError(f"the report cannot be written to {directory} ({reason}): name a place with --out")


def _replace(draft: Path, directory: Path) -> None:
    """Rename `draft` to `directory`; an older report is removed only once the new one is in its place."""
    old = draft.with_name(f"{draft.name}-old")
    if directory.exists():
        directory.rename(old)
    try:
        draft.rename(directory)
    except OSError:
        if old.exists():
            old.rename(directory)
        raise
    shutil.rmtree(old, ignore_errors=True)


def _write_files(directory: Path, material: ReportMaterial) -> None:
    sections = list_sections(material)
    figures = [block for section in sections for block in section.blocks if isinstance(block, Figure)]
    context = {
        "name": material.summary.study.name,
        "progress": describe_progress(material),
        "sections": sections,
    }
    # Plotly itself escapes what would end the script in its code and in the figures' JSON.
    html = _make_html_environment().get_template("report.html.j2")
    plotly = Markup(get_plotlyjs())  # noqa: S704 - see above
    rendered = {figure.name: _render_figure(figure) for figure in figures}
    page = html.render(**context, figures=rendered, plotly=plotly, generator=GENERATOR)
    (directory / HTML).write_text(page, encoding="utf-8")
    markdown = _make_markdown_environment().get_template("report.md.j2").render(**context, pictures=PICTURES)
    (directory / MARKDOWN).write_text(re.sub(r"\n{3,}", "\n\n", markdown), encoding="utf-8")
    (directory / PICTURES).mkdir()
    for figure in figures:
        (directory / PICTURES / f"{figure.name}.png").write_bytes(figure.png())


def _render_figure(figure: Figure) -> RenderedFigure:
    plot = figure.plotly()
    width = int((plot.layout.meta or {}).get("width", MAX_WIDTH))
    return RenderedFigure(Markup(plot.to_json()), int(plot.layout.height), width)  # noqa: S704 - see _write_files


def _make_html_environment() -> Environment:
    return Environment(loader=PackageLoader("hpsearch.report"), autoescape=True, **STRICT)


def _make_markdown_environment() -> Environment:
    """Return an environment that escapes every expression for Markdown, but what is marked as Markdown."""
    environment = Environment(loader=PackageLoader("hpsearch.report"), autoescape=False, **STRICT)  # noqa: S701 - no HTML
    environment.finalize = lambda value: value if isinstance(value, Markup) else escape(str(value))
    environment.filters["fenced"] = lambda code: Markup(fence_code(code))  # noqa: S704 - no HTML
    return environment

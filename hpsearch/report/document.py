"""The parts of a report: sections of paragraphs, lists, tables, code and figures, whatever format it is rendered in.

All texts are plain: the renderer escapes them.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from hpsearch.plotting import matplotlib_renderer, plotly_renderer
from hpsearch.plotting.chart import Chart

if TYPE_CHECKING:
    import plotly.graph_objects as go


@dataclass(frozen=True)
class Paragraph:
    """A text; `tone` says whether it is marked as a note or a warning."""

    kind: ClassVar[str] = "paragraph"
    text: str
    tone: Literal["plain", "warning", "note"] = "plain"


@dataclass(frozen=True)
class BulletList:
    """A list of texts."""

    kind: ClassVar[str] = "list"
    texts: tuple[str, ...]


@dataclass(frozen=True)
class Table:
    """Rows of cells under column headings, with a caption where that is not empty."""

    kind: ClassVar[str] = "table"
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    caption: str = ""


@dataclass(frozen=True)
class CodeBlock:
    """Lines of code."""

    kind: ClassVar[str] = "code"
    text: str


@dataclass(frozen=True)
class Figure:
    """An interactive and a static plot; `name` is that of its file, of letters, digits and dashes."""

    kind: ClassVar[str] = "figure"
    name: str
    caption: str
    plotly: "Callable[[], go.Figure]"
    png: Callable[[], bytes]


Block = Paragraph | BulletList | Table | CodeBlock | Figure


@dataclass(frozen=True)
class ReportSection:
    """A heading and the blocks below it."""

    title: str
    blocks: tuple[Block, ...]

    @property
    def anchor(self) -> str:
        """The fragment of the section's URL."""
        return self.title.lower().replace(" ", "-")


def make_figure_block(name: str, caption: str, chart: Chart) -> Figure:
    """Return a chart as a figure, which is rendered when the report is written."""
    return Figure(
        name.replace("_", "-"),
        caption,
        lambda: plotly_renderer.make_figure(chart),
        lambda: matplotlib_renderer.render_png(chart),
    )

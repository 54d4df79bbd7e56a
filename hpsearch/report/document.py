"""What a report is made of: sections of paragraphs, lists, tables, listings and figures, for whatever shows them.

All texts are plain: whoever shows them escapes them.
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
    """A text; a `warning` stands out."""

    kind: ClassVar[str] = "paragraph"
    text: str
    tone: Literal["plain", "warning", "note"] = "plain"


@dataclass(frozen=True)
class Points:
    """A list of texts."""

    kind: ClassVar[str] = "points"
    texts: tuple[str, ...]


@dataclass(frozen=True)
class Table:
    """Rows of cells under a `head`; `caption` says what they are."""

    kind: ClassVar[str] = "table"
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    caption: str = ""


@dataclass(frozen=True)
class Listing:
    """Lines of code."""

    kind: ClassVar[str] = "listing"
    text: str


@dataclass(frozen=True)
class Figure:
    """A picture that can move and one that cannot; `name` is that of its file, of letters, digits and dashes."""

    kind: ClassVar[str] = "figure"
    name: str
    caption: str
    plotly: "Callable[[], go.Figure]"
    png: Callable[[], bytes]


Block = Paragraph | Points | Table | Listing | Figure


@dataclass(frozen=True)
class ReportSection:
    """A heading with what stands below it."""

    title: str
    blocks: tuple[Block, ...]

    @property
    def anchor(self) -> str:
        """Where a link leads."""
        return self.title.lower().replace(" ", "-")


def make_figure_block(name: str, caption: str, made: Chart) -> Figure:
    """A chart as a figure."""
    kept = name.replace("_", "-")
    return Figure(
        kept, caption, lambda: plotly_renderer.make_figure(made), lambda: matplotlib_renderer.render_png(made)
    )

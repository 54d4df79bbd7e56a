"""A chart as plain values: panels side by side, and what is drawn in each; two modules render it.

`plotly_renderer.make_figure` makes it a plotly figure, `matplotlib_renderer.render_png` a picture. Texts are shown as
they are: neither takes markup in a name for markup. Colour is always accompanied by line style, marker or hatch, so
that a chart can be read without colour.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#7F7F7F")
"""Okabe and Ito's palette (2008), which most colour-blind people can tell apart, and a grey."""
LINES = ("solid", "dashed", "dotted", "dashdot")
MARKERS = ("circle", "square", "triangle", "diamond", "cross", "x", "star", "down")
HATCHES = ("", "/", "x", ".", "\\", "-", "+", "|")

PANEL_WIDTH = 300
"""Pixels of a panel in a chart with several; of a single one, twice that."""
PANEL_HEIGHT = 250
"""Pixels of a panel by default."""


@dataclass(frozen=True)
class Axis:
    """`title` names the quantity and its unit. `ticks` are positions and their labels, None for numbers.

    `low` and `high` are the ends of what is shown, None where the data decide. `whole`: only whole numbers have ticks.
    """

    title: str = ""
    log: bool = False
    whole: bool = False
    ticks: tuple[tuple[float, str], ...] | None = None
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Series:
    """Points, joined by a line where `line` names a style; one that is not finite leaves a gap.

    `low` and `high` are the ends of an interval at each point: a band around a line, else error bars, horizontal ones
    where `sideways`. `label` is the legend's text, None: none. `hover` is a text for each point, which only the plotly
    figure shows. `faint`: one among many.
    """

    x: tuple[float, ...]
    y: tuple[float, ...]
    label: str | None = None
    line: str | None = "solid"
    marker: str | None = None
    colour: str = COLOURS[0]
    low: tuple[float, ...] | None = None
    high: tuple[float, ...] | None = None
    sideways: bool = False
    faint: bool = False
    texts: tuple[str, ...] | None = None
    """Written beside the points."""
    hover: tuple[str, ...] | None = None


@dataclass(frozen=True)
class Bars:
    """Horizontal bars, each from `start` over `length` in the row `row` of the y axis, `thick` rows wide."""

    row: tuple[float, ...]
    length: tuple[float, ...]
    start: tuple[float, ...] | None = None
    label: str | None = None
    colour: str = COLOURS[0]
    hatch: str = ""
    low: tuple[float, ...] | None = None
    high: tuple[float, ...] | None = None
    thick: float = 0.7
    hover: tuple[str, ...] | None = None


@dataclass(frozen=True)
class Heatmap:
    """Cells shaded by `shades` (0 to 1) with `texts` in them, rows × columns, the first row on top.

    The axes name the rows and columns.
    """

    shades: tuple[tuple[float, ...], ...]
    texts: tuple[tuple[str, ...], ...]
    hover: tuple[tuple[str, ...], ...] | None = None


Mark = Series | Bars | Heatmap


@dataclass(frozen=True)
class Panel:
    """One pair of axes; `marks` are drawn in their order."""

    title: str
    x: Axis
    y: Axis
    marks: tuple[Mark, ...]


BLANK = Panel("", Axis(), Axis(), ())
"""A cell of the grid of panels that is left empty."""


@dataclass(frozen=True)
class Chart:
    """`panels` fill `columns` columns row by row; `width` and `height` (pixels) are each panel's."""

    panels: tuple[Panel, ...]
    columns: int = 1
    width: int = PANEL_WIDTH
    height: int = PANEL_HEIGHT

    @property
    def rows(self) -> int:
        """Return how many rows the panels fill."""
        return max(1, math.ceil(len(self.panels) / self.columns))

    def list_labels(self) -> tuple[str, ...]:
        """Return the legend's texts, each once."""
        marks = [mark for panel in self.panels for mark in panel.marks if not isinstance(mark, Heatmap)]
        return tuple(dict.fromkeys(mark.label for mark in marks if mark.label is not None))


def make_row_axis(names: Sequence[str], title: str = "") -> Axis:
    """Return a y axis with a row for each name, the first on top."""
    return replace(make_column_axis(names, title), low=len(names) - 0.5, high=-0.5)


def make_column_axis(names: Sequence[str], title: str = "") -> Axis:
    """Return an x axis with a column for each name."""
    ticks = tuple((float(position), name) for position, name in enumerate(names))
    return Axis(title, ticks=ticks, low=-0.5, high=len(names) - 0.5)


def find_axis_ends(values: Iterable[float], margin: float = 0.05) -> tuple[float, float] | None:
    """Return the ends of an axis that shows all finite `values`; None where there is none.

    `margin` is the space beyond them, as a fraction of their range.
    """
    finite = [value for value in values if math.isfinite(value)]
    if not finite:
        return None
    low, high = min(finite), max(finite)
    space = (high - low) * margin or abs(high) * margin or margin
    return low - space, high + space

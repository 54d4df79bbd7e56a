"""Charts as PNG pictures, by matplotlib without pyplot, which keeps figures in a global place."""

import io
import math
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter, NullLocator
from PIL import Image

from hpsearch.plotting.chart import BLANK, Axis, Bars, Chart, Heatmap, Panel, Series

DPI = 100
PALETTE = 64
"""Colours of a picture: as good to the eye as all of them, at a quarter of the size."""
DASHES: dict[str | None, Any] = {"solid": "-", "dashed": (0, (5, 2)), "dotted": (0, (1, 1.5)), "dashdot": "-."}
MARKERS = {
    "circle": "o",
    "square": "s",
    "triangle": "^",
    "diamond": "D",
    "cross": "P",
    "x": "X",
    "star": "*",
    "down": "v",
}
STYLE: dict[Any, Any] = {
    "text.parse_math": False,  # a dollar sign in a name is a dollar sign
    "font.size": 9.0,
    "axes.titlesize": 9.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "hatch.linewidth": 0.8,
    "hatch.color": "white",
}
RIGHT, BELOW, LEGEND_ROW, LETTER = 20, 48, 20, 6.8
"""Pixels beside and below a panel, of a row of the legend, and of a letter."""
UPRIGHT = 4
"""Letters of a text that need not be turned."""


def render_png(chart: Chart) -> bytes:
    """The chart as a picture, of its own size and in few colours."""
    with matplotlib.rc_context(STYLE):
        room = TickLabelSpace.of(chart)
        made = Figure(figsize=(room.width / DPI, room.height / DPI), dpi=DPI)
        for place, panel in enumerate(chart.panels):
            if panel is not BLANK:
                _panel(made.add_axes(room.at(chart, place)), panel)
        if room.legend:
            _legend(made, room)
        return encode_png(made)


def encode_png(made: Figure) -> bytes:
    """A drawn figure as PNG bytes."""
    canvas: Any = FigureCanvasAgg(made)
    with warnings.catch_warnings():
        # A letter that the font lacks is shown as a box; and where there is no room, nothing is laid out.
        warnings.simplefilter("ignore", UserWarning)
        canvas.draw()
    image = Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")
    file = io.BytesIO()
    image.quantize(PALETTE, method=Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE).save(file, "PNG")
    return file.getvalue()


TITLE_ROW = 17
"""Pixels of a line of a panel's title."""


@dataclass(frozen=True)
class TickLabelSpace:
    """Where everything goes, in pixels. By arithmetic: matplotlib would draw everything twice to find out."""

    width: float
    height: float
    left: float
    above: float
    below: float
    legend: Mapping[str, Series | Bars]

    @classmethod
    def of(cls, chart: Chart) -> "TickLabelSpace":
        """The room that a chart's panels need for their texts, all as much as the one that needs most."""
        ticks = [len(text) for panel in chart.panels for _, text in panel.y.ticks or ()]
        left = (max(ticks) * LETTER + 14 if ticks else 42) + (24 if any(panel.y.title for panel in chart.panels) else 4)
        above = 10 + TITLE_ROW * max((panel.title.count("\n") + bool(panel.title) for panel in chart.panels), default=0)
        turned = max((_turned(panel.x) for panel in chart.panels), default=0)
        marks = [mark for panel in chart.panels for mark in panel.marks if not isinstance(mark, Heatmap)]
        legend = {mark.label: mark for mark in reversed(marks) if mark.label is not None}
        width = chart.columns * (left + chart.width + RIGHT)
        rows = math.ceil(len(legend) / _abreast(legend, width)) if legend else 0
        height = chart.rows * (above + chart.height + BELOW + turned) + LEGEND_ROW * rows + 8 * bool(rows)
        return cls(width, height, left, above, BELOW + turned, {label: legend[label] for label in chart.labels()})

    def at(self, chart: Chart, place: int) -> tuple[float, float, float, float]:
        """Left, bottom, width and height of a panel, in parts of the figure."""
        row, column = divmod(place, chart.columns)
        left = column * (self.left + chart.width + RIGHT) + self.left
        top = row * (self.above + chart.height + self.below) + self.above
        bottom = self.height - top - chart.height
        return left / self.width, bottom / self.height, chart.width / self.width, chart.height / self.height


def _turned(axis: Axis) -> float:
    """Pixels that turned texts of an x axis take."""
    longest = max((len(text) for _, text in axis.ticks or ()), default=0)
    return longest * LETTER * 0.55 if longest > UPRIGHT else 0.0


def _abreast(labels: Iterable[str], width: float) -> int:
    """How many entries of the legend stand side by side."""
    return max(1, int(width // (max(map(len, labels)) * LETTER + 60)))


def _panel(axes: Axes, panel: Panel) -> None:
    axes.set_title(panel.title)
    _axis(axes, "x", panel.x)
    _axis(axes, "y", panel.y)
    axes.grid(visible=True, alpha=0.25, linewidth=0.6)
    axes.set_axisbelow(True)
    for mark in panel.marks:
        if isinstance(mark, Series):
            _series(axes, mark)
        elif isinstance(mark, Bars):
            _bars(axes, mark)
        else:
            _heatmap(axes, mark)
    _limit(axes, "x", panel.x)
    _limit(axes, "y", panel.y)


def _axis(axes: Axes, which: str, axis: Axis) -> None:
    getattr(axes, f"set_{which}label")(axis.title)
    line = axes.xaxis if which == "x" else axes.yaxis
    if axis.log:
        getattr(axes, f"set_{which}scale")("log")
        # matplotlib's own are in mathematical notation, which is switched off.
        line.set_major_locator(LogLocator(numticks=7))
        line.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        line.set_minor_formatter(NullFormatter())
    if axis.whole:
        line.set_major_locator(MaxNLocator(nbins=6, integer=True))
    if axis.ticks is not None:
        texts = [text for _, text in axis.ticks]
        style = {"rotation": 40, "ha": "right", "rotation_mode": "anchor"}
        turned: dict[str, Any] = style if which == "x" and _turned(axis) else {}
        line.set_ticks([place for place, _ in axis.ticks], texts, **turned)
        line.set_minor_locator(NullLocator())


def _limit(axes: Axes, which: str, axis: Axis) -> None:
    if axis.low is not None and axis.high is not None:
        getattr(axes, f"set_{which}lim")(axis.low, axis.high)


def _series(axes: Axes, mark: Series) -> None:
    drawn: dict[str, Any] = {"linestyle": DASHES[mark.line] if mark.line else "none", "color": mark.colour}
    drawn |= {"linewidth": 0.7, "alpha": 0.35} if mark.faint else {"linewidth": 1.6}
    if mark.marker:
        drawn |= {"marker": MARKERS[mark.marker], "markersize": 2.5 if mark.faint else 4.5, "markeredgewidth": 0}
    if mark.low is not None and mark.line is not None:
        axes.fill_between(mark.x, mark.low, _ends(mark.high), color=mark.colour, alpha=0.18, linewidth=0)
    if mark.low is not None and mark.line is None:
        _errors(axes, mark)
    axes.plot(mark.x, mark.y, **drawn)
    for x, y, text in zip(mark.x, mark.y, mark.texts or (), strict=False):
        axes.annotate(text, (x, y), xytext=(0, 5), textcoords="offset points", ha="center", fontsize=8)


def _errors(axes: Axes, mark: Series) -> None:
    middle = np.array(mark.x if mark.sideways else mark.y, dtype=float)
    reach = np.array([middle - np.array(mark.low), np.array(mark.high) - middle])
    sides: dict[str, Any] = {"xerr": reach} if mark.sideways else {"yerr": reach}
    axes.errorbar(mark.x, mark.y, **sides, fmt="none", ecolor=mark.colour, elinewidth=1.4, capsize=3)


def _bars(axes: Axes, mark: Bars) -> None:
    style: dict[str, Any] = {
        "facecolor": mark.colour,
        "hatch": mark.hatch * 2 or None,
        "edgecolor": "white",
        "linewidth": 0,
    }
    starts = mark.start if mark.start is not None else (0.0,) * len(mark.row)
    for row in dict.fromkeys(mark.row):  # at once: a timeline has thousands
        spans = [(start, length) for at, start, length in zip(mark.row, starts, mark.length, strict=True) if at == row]
        axes.broken_barh(spans, (row - mark.thick / 2, mark.thick), **style)
    if mark.low is not None:
        ends, reach = np.array(mark.length), (np.array(mark.low), np.array(_ends(mark.high)))
        axes.errorbar(
            mark.length, mark.row, xerr=[ends - reach[0], reach[1] - ends], fmt="none", ecolor="#333333", capsize=3
        )


def _heatmap(axes: Axes, mark: Heatmap) -> None:
    shades = np.array(mark.shades)
    axes.imshow(shades, cmap="Blues", vmin=0.0, vmax=1.0, aspect="auto")
    axes.grid(visible=False)
    for row, column in np.ndindex(shades.shape):
        colour = "white" if shades[row, column] > 0.55 else "black"
        axes.text(column, row, mark.texts[row][column], ha="center", va="center", color=colour, fontsize=7)


def _legend(made: Figure, room: TickLabelSpace) -> None:
    handles = [_handle(mark) for mark in room.legend.values()]
    columns = min(len(handles), _abreast(room.legend, room.width))
    legend = made.legend(handles, ["."] * len(handles), loc="lower center", ncols=columns, frameon=False)
    # Set afterwards: a legend leaves out what begins with an underscore.
    for text, label in zip(legend.get_texts(), room.legend, strict=True):
        text.set_text(label)


def _handle(mark: Series | Bars) -> Any:
    if isinstance(mark, Bars):
        return Patch(facecolor=mark.colour, hatch=mark.hatch * 2 or None, edgecolor="white")
    style: Any = DASHES[mark.line] if mark.line else "none"
    marker = MARKERS[mark.marker] if mark.marker else "none"
    return Line2D([0], [0], color=mark.colour, linestyle=style, marker=marker, markersize=4.5, linewidth=1.6)


def _ends(values: Sequence[float] | None) -> Sequence[float]:
    assert values is not None
    return values

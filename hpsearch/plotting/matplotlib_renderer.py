"""Charts as PNG pictures, by matplotlib without pyplot, which keeps its figures in a global registry."""

import io
import math
import warnings
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

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
"""Colours of a picture: no difference is visible, at a quarter of the size."""
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
RIGHT, BELOW, TITLE_ROW, LEGEND_ROW, LETTER = 20, 48, 17, 20, 6.8
"""Pixels beside and below a panel, of a line of a panel's title, of a row of the legend, and of a letter."""
UPRIGHT = 4
"""Letters of a tick label that need not be turned."""


def render_png(chart: Chart) -> bytes:
    """Return the chart as a PNG of its own size, with `PALETTE` colours."""
    with matplotlib.rc_context(STYLE):
        layout = compute_layout(chart)
        figure = Figure(figsize=(layout.width / DPI, layout.height / DPI), dpi=DPI)
        for place, panel in enumerate(chart.panels):
            if panel is not BLANK:
                _draw_panel(figure.add_axes(layout.compute_box(chart, place)), panel)
        if layout.legend:
            _draw_legend(figure, layout)
        return encode_png(figure)


def encode_png(figure: Figure) -> bytes:
    """Return the figure as PNG bytes."""
    canvas: Any = FigureCanvasAgg(figure)
    with warnings.catch_warnings():
        # A letter that the font lacks is shown as a box, and a figure that is too small is not laid out.
        warnings.simplefilter("ignore", UserWarning)
        canvas.draw()
    image = Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")
    file = io.BytesIO()
    image.quantize(PALETTE, method=Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE).save(file, "PNG")
    return file.getvalue()


@dataclass(frozen=True)
class PictureLayout:
    """The picture's size, and the space for texts beside each panel, all in pixels.

    It is computed from the lengths of the texts: matplotlib would draw everything twice to measure them. Every panel
    has as much space as the one that needs most. `legend` has a mark for each label.
    """

    width: float
    height: float
    left: float
    above: float
    below: float
    legend: Mapping[str, Series | Bars]

    def compute_box(self, chart: Chart, place: int) -> tuple[float, float, float, float]:
        """Return left, bottom, width and height of the panel at `place`, in fractions of the picture."""
        row, column = divmod(place, chart.columns)
        left = column * (self.left + chart.width + RIGHT) + self.left
        top = row * (self.above + chart.height + self.below) + self.above
        bottom = self.height - top - chart.height
        return left / self.width, bottom / self.height, chart.width / self.width, chart.height / self.height


def compute_layout(chart: Chart) -> PictureLayout:
    """Return the layout in which the texts of all panels and the legend have space."""
    left = _measure_left(chart)
    above = 10 + TITLE_ROW * max((panel.title.count("\n") + bool(panel.title) for panel in chart.panels), default=0)
    below = BELOW + max((_measure_turned(panel.x) for panel in chart.panels), default=0)
    width = chart.columns * (left + chart.width + RIGHT)
    legend = _collect_legend(chart)
    rows = math.ceil(len(legend) / _count_legend_columns(legend, width)) if legend else 0
    height = chart.rows * (above + chart.height + below) + LEGEND_ROW * rows + 8 * bool(rows)
    return PictureLayout(width, height, left, above, below, legend)


def _measure_left(chart: Chart) -> float:
    """Return the pixels that the y axes' tick labels and titles take."""
    letters = [len(text) for panel in chart.panels for _, text in panel.y.ticks or ()]
    labels = max(letters) * LETTER + 14 if letters else 42
    return labels + (24 if any(panel.y.title for panel in chart.panels) else 4)


def _measure_turned(axis: Axis) -> float:
    """Return the pixels that turned tick labels of an x axis take; 0 where they are not turned."""
    longest = max((len(text) for _, text in axis.ticks or ()), default=0)
    return longest * LETTER * 0.55 if longest > UPRIGHT else 0.0


def _collect_legend(chart: Chart) -> dict[str, Series | Bars]:
    """Return the first mark of each label."""
    legend: dict[str, Series | Bars] = {}
    for panel in chart.panels:
        for mark in panel.marks:
            if not isinstance(mark, Heatmap) and mark.label is not None:
                legend.setdefault(mark.label, mark)
    return legend


def _count_legend_columns(labels: Iterable[str], width: float) -> int:
    """Return how many entries of the legend fit side by side."""
    return max(1, int(width // (max(map(len, labels)) * LETTER + 60)))


def _draw_panel(axes: Axes, panel: Panel) -> None:
    axes.set_title(panel.title)
    _draw_axis(axes, "x", panel.x)
    _draw_axis(axes, "y", panel.y)
    axes.grid(visible=True, alpha=0.25, linewidth=0.6)
    axes.set_axisbelow(True)
    for mark in panel.marks:
        if isinstance(mark, Series):
            _draw_series(axes, mark)
        elif isinstance(mark, Bars):
            _draw_bars(axes, mark)
        else:
            _draw_heatmap(axes, mark)
    _set_limits(axes, "x", panel.x)
    _set_limits(axes, "y", panel.y)


def _draw_axis(axes: Axes, which: Literal["x", "y"], axis: Axis) -> None:
    getattr(axes, f"set_{which}label")(axis.title)
    line = axes.xaxis if which == "x" else axes.yaxis
    if axis.log:
        getattr(axes, f"set_{which}scale")("log")
        # matplotlib's own formatter writes mathematical notation, which is switched off.
        line.set_major_locator(LogLocator(numticks=7))
        line.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        line.set_minor_formatter(NullFormatter())
    if axis.whole:
        line.set_major_locator(MaxNLocator(nbins=6, integer=True))
    if axis.ticks is not None:
        texts = [text for _, text in axis.ticks]
        style = {"rotation": 40, "ha": "right", "rotation_mode": "anchor"}
        turned: dict[str, Any] = style if which == "x" and _measure_turned(axis) else {}
        line.set_ticks([position for position, _ in axis.ticks], texts, **turned)
        line.set_minor_locator(NullLocator())


def _set_limits(axes: Axes, which: Literal["x", "y"], axis: Axis) -> None:
    if axis.low is not None and axis.high is not None:
        getattr(axes, f"set_{which}lim")(axis.low, axis.high)


def _draw_series(axes: Axes, mark: Series) -> None:
    style: dict[str, Any] = {"linestyle": DASHES[mark.line] if mark.line else "none", "color": mark.colour}
    style |= {"linewidth": 0.7, "alpha": 0.35} if mark.faint else {"linewidth": 1.6}
    if mark.marker:
        style |= {"marker": MARKERS[mark.marker], "markersize": 2.5 if mark.faint else 4.5, "markeredgewidth": 0}
    if mark.low is not None and mark.line is not None:
        axes.fill_between(mark.x, mark.low, _require(mark.high), color=mark.colour, alpha=0.18, linewidth=0)
    if mark.low is not None and mark.line is None:
        _draw_errors(axes, mark)
    axes.plot(mark.x, mark.y, **style)
    for x, y, text in zip(mark.x, mark.y, mark.texts or (), strict=False):
        axes.annotate(text, (x, y), xytext=(0, 5), textcoords="offset points", ha="center", fontsize=8)


def _draw_errors(axes: Axes, mark: Series) -> None:
    middle = np.array(mark.x if mark.sideways else mark.y, dtype=float)
    reach = np.array([middle - np.array(mark.low), np.array(mark.high) - middle])
    sides: dict[str, Any] = {"xerr": reach} if mark.sideways else {"yerr": reach}
    axes.errorbar(mark.x, mark.y, **sides, fmt="none", ecolor=mark.colour, elinewidth=1.4, capsize=3)


def _draw_bars(axes: Axes, mark: Bars) -> None:
    style: dict[str, Any] = {
        "facecolor": mark.colour,
        "hatch": mark.hatch * 2 or None,
        "edgecolor": "white",
        "linewidth": 0,
    }
    starts = mark.start if mark.start is not None else (0.0,) * len(mark.row)
    spans: dict[float, list[tuple[float, float]]] = defaultdict(list)
    for row, start, length in zip(mark.row, starts, mark.length, strict=True):
        spans[row].append((start, length))
    for row, bars in spans.items():  # a call for each row, as a timeline has thousands of bars
        axes.broken_barh(bars, (row - mark.thick / 2, mark.thick), **style)
    if mark.low is not None:
        ends = np.array(mark.length)
        reach = [ends - np.array(mark.low), np.array(_require(mark.high)) - ends]
        axes.errorbar(mark.length, mark.row, xerr=reach, fmt="none", ecolor="#333333", capsize=3)


def _draw_heatmap(axes: Axes, mark: Heatmap) -> None:
    shades = np.array(mark.shades)
    axes.imshow(shades, cmap="Blues", vmin=0.0, vmax=1.0, aspect="auto")
    axes.grid(visible=False)
    for row, column in np.ndindex(shades.shape):
        colour = "white" if shades[row, column] > 0.55 else "black"
        axes.text(column, row, mark.texts[row][column], ha="center", va="center", color=colour, fontsize=7)


def _draw_legend(figure: Figure, layout: PictureLayout) -> None:
    handles = [_make_handle(mark) for mark in layout.legend.values()]
    columns = min(len(handles), _count_legend_columns(layout.legend, layout.width))
    legend = figure.legend(handles, ["."] * len(handles), loc="lower center", ncols=columns, frameon=False)
    # Set afterwards: matplotlib leaves out a label that begins with an underscore.
    for text, label in zip(legend.get_texts(), layout.legend, strict=True):
        text.set_text(label)


def _make_handle(mark: Series | Bars) -> Any:
    if isinstance(mark, Bars):
        return Patch(facecolor=mark.colour, hatch=mark.hatch * 2 or None, edgecolor="white")
    style: Any = DASHES[mark.line] if mark.line else "none"
    marker = MARKERS[mark.marker] if mark.marker else "none"
    return Line2D([0], [0], color=mark.colour, linestyle=style, marker=marker, markersize=4.5, linewidth=1.6)


def _require(values: Sequence[float] | None) -> Sequence[float]:
    assert values is not None
    return values

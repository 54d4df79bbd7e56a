"""Charts as plotly figures."""

import html
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from hpsearch.plotting.chart import BLANK, Axis, Bars, Chart, Heatmap, Mark, Panel, Series

DASHES = {"solid": "solid", "dashed": "dash", "dotted": "dot", "dashdot": "dashdot"}
SYMBOLS = {
    "circle": "circle",
    "square": "square",
    "triangle": "triangle-up",
    "diamond": "diamond",
    "cross": "cross",
    "x": "x",
    "star": "star",
    "down": "triangle-down",
}
FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'DejaVu Sans', sans-serif"
EDGES = 220
"""Pixels left and right of all panels."""
LETTER = 6.5
"""Pixels of a letter of a tick label."""
TOP, BOTTOM, GAP, LEGEND_ROW, TITLE_ROW = 34, 56, 86, 22, 16
"""Pixels above and below the panels, between two rows of them, and of a row of the legend and of a title."""


def escape_html(text: str) -> str:
    """Return `text` with its markup escaped, as plotly interprets HTML in texts; line breaks become `<br>`."""
    return html.escape(text, quote=False).replace("\n", "<br>")


def make_figure(chart: Chart) -> go.Figure:
    """Return the chart as a figure whose width follows the page's; `layout.meta.width` is the least it needs, px."""
    titles = TITLE_ROW * max((panel.title.count("\n") for panel in chart.panels), default=0)
    below = max((_measure_turned(panel) for panel in chart.panels), default=0)
    height = chart.rows * chart.height + (chart.rows - 1) * (GAP + titles + below)
    between = max(map(_measure_left, chart.panels), default=0.0) + 16
    width = chart.columns * chart.width + (chart.columns - 1) * between
    figure = make_subplots(
        rows=chart.rows,
        cols=chart.columns,
        subplot_titles=[escape_html(panel.title) for panel in chart.panels] or None,
        horizontal_spacing=between / width if chart.columns > 1 else 0,
        vertical_spacing=(GAP + titles + below) / height if chart.rows > 1 else 0,
    )
    _add_panels(figure, chart)
    letters = sum(len(label) * LETTER + 60 for label in chart.list_labels())
    legend = LEGEND_ROW * math.ceil(letters / max(width, 500))
    figure.update_layout(
        template="plotly_white",
        font={"family": FONT, "size": 12},
        meta={"width": width + EDGES},
        height=height + TOP + titles + BOTTOM + below + legend,
        margin={"t": TOP + titles, "b": BOTTOM + below + legend, "l": 64, "r": 20},
        legend={"orientation": "h", "yref": "container", "y": 0, "yanchor": "bottom", "x": 0.5, "xanchor": "center"},
        barmode="overlay",
        hovermode="closest",
    )
    figure.update_annotations(font_size=13)
    return figure


def _add_panels(figure: go.Figure, chart: Chart) -> None:
    shown: set[str] = set()
    for place, panel in enumerate(chart.panels):
        cell = {"row": place // chart.columns + 1, "col": place % chart.columns + 1}
        for mark in panel.marks:
            for trace in _make_traces(mark, shown):
                figure.add_trace(trace, **cell)
        figure.update_xaxes(**_describe_axis(panel.x), visible=panel is not BLANK, **cell)
        figure.update_yaxes(**_describe_axis(panel.y), visible=panel is not BLANK, **cell)


def _measure_left(panel: Panel) -> float:
    """Return the pixels that the y axis's tick labels and title take."""
    return max((len(text) * LETTER for _, text in panel.y.ticks or ()), default=36) + (24 if panel.y.title else 0)


def _measure_turned(panel: Panel) -> int:
    """Return the pixels that turned tick labels below a panel take."""
    longest = max((len(text) for _, text in panel.x.ticks or ()), default=0)
    return int(longest * LETTER * 0.5) if longest > 4 else 0


def _describe_axis(axis: Axis) -> dict[str, Any]:
    described: dict[str, Any] = {
        "title": {"text": escape_html(axis.title), "standoff": 8},
        "automargin": True,
        "zeroline": False,
        "hoverformat": ".4g",
    }
    if axis.log:
        described |= {"type": "log", "dtick": 1, "exponentformat": "power", "minor": {"ticks": "outside"}}
    if axis.whole:
        described |= {"tickformat": "d", "nticks": 6}
    if axis.ticks is not None:
        positions, texts = [position for position, _ in axis.ticks], [escape_html(text) for _, text in axis.ticks]
        described |= {"tickmode": "array", "tickvals": positions, "ticktext": texts}
    if axis.low is not None and axis.high is not None:
        ends = (axis.low, axis.high)
        described["range"] = [math.log10(end) for end in ends] if axis.log else list(ends)
    return described


def _make_traces(mark: Mark, shown: set[str]) -> list[Any]:
    """Return the mark as traces; its label is added to those `shown` in the legend."""
    if isinstance(mark, Heatmap):
        return [_make_heatmap(mark)]
    named: dict[str, Any] = {"showlegend": False}
    if mark.label is not None:
        label = escape_html(mark.label)
        named = {"name": label, "legendgroup": label, "showlegend": label not in shown}
        shown.add(label)
    if isinstance(mark, Bars):
        return [_make_bars(mark, named)]
    band = [_make_band(mark, named)] if mark.low is not None and mark.line is not None else []
    return [*band, _make_series(mark, named)]


def _make_series(mark: Series, named: dict[str, Any]) -> go.Scatter:
    parts = {"lines": mark.line, "markers": mark.marker, "text": mark.texts}
    mode = "+".join(part for part, value in parts.items() if value)
    trace = go.Scatter(
        x=np.array(mark.x), y=np.array(mark.y), mode=mode or "none", **named, **_describe_hover(mark.hover)
    )
    if mark.line:
        width, opacity = (1, 0.35) if mark.faint else (2, 1.0)
        trace.update(line={"color": mark.colour, "dash": DASHES[mark.line], "width": width}, opacity=opacity)
    if mark.marker:
        size, opacity = (4, 0.4) if mark.faint else (7, 1.0)
        marker = {"color": mark.colour, "symbol": SYMBOLS[mark.marker], "size": size, "opacity": opacity}
        trace.update(marker=marker)
    if mark.texts:
        trace.update(text=[escape_html(text) for text in mark.texts], textposition="top center", textfont={"size": 11})
    if mark.low is not None and mark.line is None:
        middle = mark.x if mark.sideways else mark.y
        trace.update(
            {"error_x" if mark.sideways else "error_y": _make_errors(middle, mark.low, mark.high, mark.colour)}
        )
    return trace


def _make_band(mark: Series, named: dict[str, Any]) -> go.Scatter:
    x, low, high = (np.array(values, dtype=float) for values in (mark.x, mark.low, mark.high))
    finite = np.isfinite(x) & np.isfinite(low) & np.isfinite(high)
    return go.Scatter(
        x=np.concatenate([x[finite], x[finite][::-1]]),
        y=np.concatenate([high[finite], low[finite][::-1]]),
        fill="toself",
        fillcolor=_make_transparent(mark.colour),
        line={"width": 0},
        mode="lines",
        hoverinfo="skip",
        **{**named, "showlegend": False},
    )


def _make_bars(mark: Bars, named: dict[str, Any]) -> go.Bar:
    pattern = {"shape": mark.hatch, "solidity": 0.25, "size": 7, "fgcolor": "white"}
    trace = go.Bar(
        y=np.array(mark.row),
        x=np.array(mark.length),
        base=None if mark.start is None else np.array(mark.start),
        orientation="h",
        width=mark.thick,
        marker={"color": mark.colour, "pattern": pattern, "line": {"width": 0}},
        **named,
        **_describe_hover(mark.hover),
    )
    if mark.low is not None:
        trace.update(error_x=_make_errors(mark.length, mark.low, mark.high, "#333333"))
    return trace


def _make_heatmap(mark: Heatmap) -> go.Heatmap:
    return go.Heatmap(
        z=np.array(mark.shades),
        text=[[escape_html(text) for text in row] for row in mark.texts],
        texttemplate="%{text}",
        hovertext=None if mark.hover is None else [[escape_html(text) for text in row] for row in mark.hover],
        hoverinfo="text",
        colorscale="Blues",
        zmin=0,
        zmax=1,
        showscale=False,
        xgap=1,
        ygap=1,
    )


def _make_errors(
    middle: Sequence[float], low: Sequence[float], high: Sequence[float] | None, colour: str
) -> dict[str, Any]:
    assert high is not None
    center = np.array(middle, dtype=float)
    up, down = np.array(high, dtype=float) - center, center - np.array(low, dtype=float)
    return {"type": "data", "symmetric": False, "array": up, "arrayminus": down, "color": colour, "thickness": 1.5}


def _describe_hover(texts: Sequence[str] | None) -> dict[str, Any]:
    return {} if texts is None else {"hovertext": [escape_html(text) for text in texts], "hoverinfo": "text"}


def _make_transparent(colour: str) -> str:
    red, green, blue = (int(colour[place : place + 2], 16) for place in (1, 3, 5))
    return f"rgba({red},{green},{blue},0.18)"

"""Plots of a study that the dashboard has none of its own for: learning curves by choice, accuracy against time."""

from collections.abc import Mapping
from typing import Any

import pandas as pd
import plotly.graph_objects as go

from hpsearch.dimension import Choices, Dimension

GROUPS = 4
"""Into how many groups of equal size the values of a number are put, where there are more than that."""

# Okabe and Ito's, which the colour-blind tell apart too; the markers tell apart whoever prints without colour.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#8C6D31")
MARKERS = ("circle", "square", "diamond", "triangle-up", "x", "cross", "triangle-down", "star")


def figures(trials: pd.DataFrame, epochs: pd.DataFrame, space: Mapping[str, Dimension]) -> dict[str, str]:
    """Plotly figures as JSON, by an id.

    Args:
        trials: as `frames.trials` gives them.
        epochs: as `frames.epochs` gives them.
        space: what was searched.
    """
    complete = trials[(trials["state"] == "complete") & (trials["epochs"] > 0)]
    if complete.empty:
        return {}
    trained = epochs.merge(complete, left_on="trial", right_index=True, suffixes=("", "_of_trial"))
    searched = [name for name in space if name in complete and complete[name].notna().any()]
    groups = {name: _groups(complete[name], space[name]) for name in searched}
    drawn = {f"curves-{name}": _curves(trained, name, groups[name]) for name in searched}
    grouped = next((name for name in searched if isinstance(space[name], Choices)), None)
    return {
        name: figure.to_json()
        for name, figure in {**drawn, "time": _time(trained, grouped, groups.get(grouped or ""))}.items()
    }


def _curves(trained: pd.DataFrame, name: str, groups: "pd.Series[Any]") -> go.Figure:
    """Mean accuracy by epoch, of the trials of each value of `name`."""
    figure = _figure(f"Learning curves by {name}", "epoch", "mean accuracy (fraction of 1)")
    labels = groups.reindex(trained["trial"]).set_axis(trained.index)
    for place, (label, group) in enumerate(trained.groupby(labels, observed=True)):
        means = group.groupby("epoch")[["val_accuracy", "train_accuracy"]].mean()
        look = {"color": COLOURS[place % len(COLOURS)]}
        shown = f"{label} ({group['trial'].nunique()})"
        for part, dash in (("val", "solid"), ("train", "dot")):
            figure.add_scatter(
                x=means.index.tolist(),
                y=means[f"{part}_accuracy"].round(5).tolist(),
                name=shown,
                legendgroup=str(label),
                showlegend=part == "val",
                mode="lines+markers",
                line={**look, "dash": dash},
                marker={**look, "symbol": MARKERS[place % len(MARKERS)] + "-open" * (part == "train"), "size": 7},
                hovertemplate=f"{label}, {'validation' if part == 'val' else 'training'}: %{{y:.4f}}<extra></extra>",
            )
    for part, dash, symbol in (("validation", "solid", "circle"), ("training", "dot", "circle-open")):
        look = {"color": "#888888"}
        marker = {**look, "symbol": symbol, "size": 7}
        figure.add_scatter(
            x=[None], y=[None], name=part, mode="lines+markers", line={**look, "dash": dash}, marker=marker
        )
    figure.update_layout(legend_title_text=f"{name} (trials)")
    figure.update_xaxes(tickformat="d")
    return figure


def _time(trained: pd.DataFrame, name: str | None, groups: "pd.Series[Any] | None") -> go.Figure:
    """Each complete trial's best accuracy against the time it trained, by the values of one choice."""
    figure = _figure("Accuracy against training time", "training time (seconds)", "best validation accuracy")
    spent = trained.groupby("trial").agg(seconds=("seconds", "sum"), accuracy=("val_accuracy", "max"))
    labels = pd.Series("all", spent.index) if groups is None else groups.reindex(spent.index)
    for place, (label, points) in enumerate(spent.groupby(labels, observed=True)):
        figure.add_scatter(
            x=points["seconds"].round(2).tolist(),
            y=points["accuracy"].round(5).tolist(),
            text=[f"trial {number}" for number in points.index],
            name=f"{label} ({len(points)})",
            showlegend=name is not None,
            mode="markers",
            marker={
                "color": COLOURS[place % len(COLOURS)],
                "symbol": MARKERS[place % len(MARKERS)],
                "size": 7,
                "opacity": 0.7,
            },
            hovertemplate="%{text}: %{y:.4f} after %{x:.1f} s<extra></extra>",
        )
    if name:
        figure.update_layout(legend_title_text=f"{name} (trials)")
    if spent["seconds"].max() > 10 * spent["seconds"].min() > 0:
        figure.update_xaxes(type="log")
    return figure


def _groups(values: "pd.Series[Any]", dimension: Dimension) -> "pd.Series[Any]":
    """A label for each value, in their order: itself, or the range it lies in. Where there is no value, no label."""
    known = values.dropna()
    present = list(dimension.values) if isinstance(dimension, Choices) else sorted(known.unique())
    if isinstance(dimension, Choices) or len(present) <= GROUPS:
        labels, labelled = [_label(value) for value in present], known.map(_label)
    else:
        parts = pd.qcut(known.astype(float), GROUPS, duplicates="drop")
        bounds = known.groupby(parts, observed=True).agg(["min", "max"])
        ranges = {part: f"{_label(low)} to {_label(high)}" for part, low, high in bounds.itertuples()}
        labels, labelled = list(ranges.values()), parts.astype(object).map(ranges)
    return pd.Series(pd.Categorical(labelled, list(dict.fromkeys(labels))), known.index)


def _label(value: object) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _figure(title: str, x: str, y: str) -> go.Figure:
    """An empty one, that looks like the dashboard's and stays zoomed when the page is brought up to date."""
    axis = {"showgrid": True, "gridcolor": "#E5E5E5", "zeroline": False, "automargin": True}
    return go.Figure(
        layout={
            "template": "none",
            "title": {"text": f"<b>{title}</b>", "x": 0.02, "xanchor": "left", "font": {"size": 20}},
            "xaxis": {**axis, "title": {"text": x}},
            "yaxis": {**axis, "title": {"text": y}},
            "legend": {"orientation": "v"},
            "margin": {"l": 60, "r": 20, "t": 60, "b": 50},
            "uirevision": "true",
        }
    )

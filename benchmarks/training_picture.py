"""The picture of the benchmark of answers on real training: what is true against what is said of each search."""

from collections.abc import Sequence
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from training_judged import JudgedSearches

TRUE, COLOURS = "#c9ced6", ("#1f77b4", "#d95f02", "#1b9e77", "#7b5ea7", "#b8860b")
OPEN = "#9aa3ad"
SURE = 1.96


def draw(judged: Sequence[JudgedSearches], file: Path) -> None:
    """Draw the shares of each data set above, and the differences between levels among good configurations below."""
    with matplotlib.rc_context({"font.size": 9.0, "axes.spines.top": False, "axes.spines.right": False}):
        figure = Figure(figsize=(4.4 * len(judged), 6.8), layout="constrained")
        upper, lower = figure.subplots(2, len(judged), squeeze=False)
        for data, shares, differences in zip(judged, upper, lower, strict=True):
            _draw_shares(shares, data)
            _draw_differences(differences, data)
        figure.savefig(file, dpi=110, pil_kwargs={"lossless": True} if file.suffix == ".webp" else None)


def _draw_shares(axes: Axes, data: JudgedSearches) -> None:
    truth = data.truth(data.rung)
    names = sorted(truth.space, key=lambda name: truth.shares[name])
    true = [truth.shares[name] for name in names]
    axes.barh(names, true, height=0.8, color=TRUE, label="true, from the grid")
    offsets = np.linspace(0.27, -0.27, len(data.searches))
    for search, answer, offset, colour in zip(data.searches, data.answers, offsets, COLOURS, strict=False):
        shown = [(i, answer.shares[name]) for i, name in enumerate(names) if name in answer.shares]
        places = [i + offset for i, _ in shown]
        axes.hlines(
            places, [share.low for _, share in shown], [share.high for _, share in shown], colour, linewidth=1.4
        )
        axes.plot(
            [share.share for _, share in shown],
            places,
            "o",
            color=colour,
            markersize=3.5,
            label=f"search {search.seed}",
        )
    axes.set_xlim(0, None)
    axes.set_xlabel(f"share of the variance at epoch {data.rung} of {data.epochs}")
    axes.set_title(f"{data.name}: shares, and their 95% intervals", loc="left")
    axes.legend(frameon=False, loc="lower right", fontsize=8)


def _draw_differences(axes: Axes, data: JudgedSearches) -> None:
    """Draw every difference that is said of any search against the true one, in points."""
    counts = {True: 0, False: 0}
    for answer in data.answers:
        for claim in answer.claims:
            if claim.where == "good" and claim.epoch == answer.epoch:
                amount = 100 * data.truth(claim.epoch).compare(claim.name, claim.better, claim.worse, "good")
                colour = COLOURS[0] if claim.settled else OPEN
                axes.vlines(amount, 100 * claim.low, 100 * claim.high, colour, linewidth=1, alpha=0.6)
                counts[claim.settled] += 1
    for settled, count in counts.items():
        label = f"{'settled' if settled else 'not settled'} ({count})"
        axes.plot([], [], color=COLOURS[0] if settled else OPEN, label=label)
    low, high = axes.get_xlim()
    axes.axline((0, 0), slope=1, color="black", linewidth=0.8, linestyle=(0, (4, 3)))
    axes.axhline(0, color="black", linewidth=0.5)
    axes.set_xlim(low, high)
    axes.set_xlabel(f"true difference of two levels at epoch {data.rung}, points")
    axes.set_ylabel("95% interval that is stated, points")
    axes.set_title("Levels, among good configurations", loc="left")
    axes.legend(frameon=False, loc="upper left", fontsize=8)

"""The search benchmark's picture: the best value so far against CPU seconds, a line a side."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from search_results import Run, measure
from search_sides import TITLES, Task

POINTS = 150
COLOURS = {"optuna": "#7f7f7f", "kerastuner": "#d62728", "service": "#1f77b4", "baselines": "#2ca02c"}


def draw(task: Task, title: str, sides: Mapping[str, Sequence[Run]], file: Path) -> None:
    """Draw median and range over seeds, as far as all runs of a side go; nothing where plain Optuna has no run."""
    measured = measure(sides.get("optuna", ()))
    if measured is None:
        return
    with matplotlib.rc_context(
        {"font.size": 9.0, "svg.hashsalt": "search", "axes.spines.top": False, "axes.spines.right": False}
    ):
        figure = Figure(figsize=(7.2, 4.4), layout="constrained")
        axes = figure.add_subplot()
        for side, colour in COLOURS.items():
            if runs := sides.get(side):
                grid = np.linspace(0, min(run.cpu for run in runs), POINTS)
                curves = np.array([[100 * run.best(cpu) for cpu in grid] for run in runs])
                curves[curves == 0] = np.nan  # before the first epoch was over
                begun = ~np.isnan(curves).any(axis=0)
                x, y = grid[begun], curves[:, begun]
                label = f"{TITLES[side]} (n = {len(runs)})"
                axes.step(x, np.median(y, axis=0), where="post", color=colour, label=label)
                axes.fill_between(x, y.min(axis=0), y.max(axis=0), step="post", color=colour, alpha=0.13, linewidth=0)
        for target in measured.targets:
            axes.axhline(100 * target, color="black", linewidth=0.7, linestyle=(0, (4, 3)))
        axes.set_xlim(0, 1.02 * measured.cpu)
        axes.set_xlabel("CPU seconds of the whole process tree")
        axes.set_ylabel("best validation accuracy so far, %")
        axes.set_title(title, loc="left")
        figure.legend(loc="outside lower center", ncols=2, frameon=False)
        figure.savefig(file, metadata={"Date": None})

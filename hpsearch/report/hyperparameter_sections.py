"""The sections of a report on what each hyperparameter does: effects, curves, training rate, gap, cost, confusions."""

from collections.abc import Sequence

from hpsearch.analysis.effects import ENDINGS, GUESSES, Effect, Level, Quantity
from hpsearch.analysis.statistics import Estimate
from hpsearch.formatting import ACCURACY, capitalize, format_amount, format_epochs, format_metric
from hpsearch.metrics import METRICS
from hpsearch.outcomes import MAX_CONFUSED_CLASSES
from hpsearch.plotting import confusion_matrix, hyperparameter_plots, optuna_plots
from hpsearch.plotting.confusion_matrix import ConfusionMatrix
from hpsearch.plotting.optuna_plots import OptunaPlot
from hpsearch.report.document import Block, BulletList, Figure, Paragraph, ReportSection, Table, make_figure_block
from hpsearch.report.material import ReportMaterial

SLICE_COLUMNS = 4
"""Hyperparameters side by side."""
MAX_CONTOUR_NAMES = 3
"""Hyperparameters whose pairs are drawn."""
GUESSES_TOO = " and those that ended at chance or diverged, which count as no better than guessing,"
CHOSEN = (
    "Sampler and pruner chose which trials these are: their means describe them, and compare no levels. What the "
    "search says of the levels stands in the answer."
)
NOTHING = "No trial has come far enough to show this."


def describe_effects(material: ReportMaterial) -> ReportSection:
    """Compare each hyperparameter's levels, with their intervals."""
    blocks: list[Block] = [Paragraph(NOTHING)]
    if any(level.value for effect in material.compared for level in effect.levels):
        levels = [level for effect in material.compared for level in effect.levels]
        guesses = any(level.endings[ending] for level in levels for ending in GUESSES)
        caption = (
            f"Mean over the complete trials of each level{GUESSES_TOO if guesses else ''} (how many in brackets) with "
            "its 95% confidence interval"
            + (
                "; grey points are single trials."
                if hyperparameter_plots.collect_points(material.compared)
                else "; there are too many trials to show each."
            )
            + " An interval that runs off the plot belongs to a level with very few trials."
        )
        blocks = [Paragraph(CHOSEN, "warning")] if not material.answer.findings.is_exact else []
        blocks += _make_effect_figures(material, "effects", caption, "value")
    blocks += [_tabulate_levels(effect, material.metric) for effect in material.compared]
    return ReportSection("Effects", tuple(blocks))


def _make_effect_figures(material: ReportMaterial, name: str, caption: str, quantity: Quantity) -> list[Block]:
    """Plot a quantity by hyperparameter and, in a figure of its own, by whole configurations, whose names are long."""
    configurations = material.answer.findings.configurations
    figures = {
        name: [effect for effect in material.compared if effect is not configurations],
        f"{name}-configurations": [effect for effect in material.compared if effect is configurations],
    }
    return [
        make_figure_block(part, caption, hyperparameter_plots.plot_effects(effects, quantity, material.metric))
        for part, effects in figures.items()
        if any(getattr(level, quantity) for effect in effects for level in effect.levels)
    ]


def _tabulate_levels(effect: Effect, metric: str) -> Table:
    endings = [ending for ending in ENDINGS if any(level.endings[ending] for level in effect.levels)]
    columns = (
        effect.name,
        "trials",
        *(ending.label for ending in endings),
        f"{metric} (mean ± 95%)",
        "seconds per epoch",
        "overfitting gap",
    )
    rows = tuple(
        (
            level.label,
            str(len(level.trials)),
            *(str(level.endings[ending]) for ending in endings),
            _format_value(level.value, metric),
            _format_seconds(level.seconds),
            format_amount(level.gap.mean, level.gap.half, ACCURACY) if level.gap else "",
        )
        for level in effect.levels
    )
    return Table(columns, rows, f"{effect.name}" + (f", where {effect.when}" if effect.when else ""))


def _format_value(value: Estimate | None, metric: str) -> str:
    """Return a level's value as `71.2 ± 0.6% (n = 3)`."""
    return f"{format_metric(value.mean, value.half, metric)} (n = {value.n})" if value else ""


def _format_seconds(estimate: Estimate | None) -> str:
    if estimate is None:
        return ""
    return f"{estimate.mean:.3g}" + (f" ± {estimate.half:.2g}" if estimate.half is not None else "")


def describe_curves(material: ReportMaterial) -> ReportSection:
    """Show the learning curves of each hyperparameter's levels side by side."""
    blocks: list[Block] = []
    for effect in material.compared:
        if _has_curves(material, effect):
            caption = (
                f"Learning curves by {effect.name}: means over each level's complete trials (over all of them where "
                f"none is complete) with 95% confidence intervals; thin lines are single trials, "
                f"where at most {hyperparameter_plots.MAX_SINGLE_CURVES} are."
            )
            plot = hyperparameter_plots.plot_curves(effect, material.trials, material.metric)
            blocks.append(make_figure_block(f"curves-{effect.name}", caption, plot))
    return ReportSection("Learning curves", tuple(blocks) or (Paragraph(NOTHING),))


def _has_curves(material: ReportMaterial, effect: Effect) -> bool:
    return any(hyperparameter_plots.select_representatives(level, material.trials) for level in effect.levels)


def describe_rate(material: ReportMaterial) -> ReportSection:
    """Show how soon trials reach given accuracies."""
    blocks: list[Block] = []
    for effect in material.compared:
        if any(reach.trials for level in effect.levels for reach in level.reached):
            caption = (
                f"Epochs and seconds to a validation accuracy by {effect.name}: medians of the trials that "
                "reached it, where these are at least half as many as the complete ones."
            )
            blocks.append(make_figure_block(f"rate-{effect.name}", caption, hyperparameter_plots.plot_rate(effect)))
            blocks.append(_tabulate_rate(effect, material.answer.findings.accuracies))
    if blocks:
        note = "Trials that never reached an accuracy, or were ended before, have no part in its medians."
        blocks.insert(0, Paragraph(note, "note"))
    return ReportSection("Training rate", tuple(blocks) or (Paragraph(NOTHING),))


def _tabulate_rate(effect: Effect, accuracies: Sequence[float]) -> Table:
    columns = (effect.name, *(f"to {accuracy:.0%}" for accuracy in accuracies))
    rows = tuple(
        (level.label, *(_format_reach(level, index) for index in range(len(accuracies)))) for level in effect.levels
    )
    caption = f"Epochs and seconds to an accuracy by {effect.name}, and how many trials reached it"
    return Table(columns, rows, caption)


def _format_reach(level: Level, index: int) -> str:
    """Return `7.5 epochs, 12 s (3 of 4)`."""
    reach = level.reached[index]
    if reach.epoch is None or reach.seconds is None:
        return "–"
    return f"{format_epochs(reach.epoch)}, {reach.seconds:.3g} s ({reach.trials} of {len(level.trials)})"


def describe_gap(material: ReportMaterial) -> ReportSection:
    """Compare training accuracy less validation accuracy."""
    sentences = material.answer.sentences.gap
    blocks: list[Block] = [BulletList(sentences)] if sentences else []
    if any(level.gap for effect in material.compared for level in effect.levels):
        caption = (
            "Training accuracy less validation accuracy at the last epoch of complete trials, mean with 95% confidence "
            "interval. Training accuracy is measured with dropout on, while the weights change, so it may lie a little "
            "below validation accuracy."
        )
        blocks += _make_effect_figures(material, "gap", caption, "gap")
    return ReportSection("Overfitting gap", tuple(blocks) or (Paragraph(NOTHING),))


def describe_cost(material: ReportMaterial) -> ReportSection:
    """Compare seconds per epoch, and the metric against time."""
    sentences = material.answer.sentences.cost
    blocks: list[Block] = [BulletList(sentences)] if sentences else []
    if any(level.seconds for effect in material.compared for level in effect.levels):
        caption = (
            "Seconds per epoch, training and validating: each trial's median over its epochs but the first, then the "
            "mean of those with its 95% confidence interval. Trials on different devices are mixed: see the "
            "environment."
        )
        blocks += _make_effect_figures(material, "seconds", caption, "seconds")
    for effect in material.compared:
        if _has_curves(material, effect):
            title = capitalize(METRICS[material.metric].title)
            caption = f"{title} against the time trained, by {effect.name}: means over complete trials."
            plot = hyperparameter_plots.plot_metric_by_time(effect, material.trials, material.metric)
            blocks.append(make_figure_block(f"time-{effect.name}", caption, plot))
    return ReportSection("Cost", tuple(blocks) or (Paragraph(NOTHING),))


def plot_search_space(material: ReportMaterial) -> list[ReportSection]:
    """Return Optuna's plots: parallel coordinates, slices, contours."""
    summary, trials, names = material.summary, material.trials, material.names_by_importance
    lines = optuna_plots.plot_parallel_coordinates(summary, trials, names)
    groups = [names[start : start + SLICE_COLUMNS] for start in range(0, len(names), SLICE_COLUMNS)]
    top = names[:MAX_CONTOUR_NAMES]
    pairs = [(first, second) for index, first in enumerate(top) for second in top[index + 1 :]]
    slices = [
        _make_optuna_figure(
            f"slices-{number}",
            f"The value of each trial against {', '.join(group)}; darker ones came later",
            optuna_plots.plot_slices(summary, trials, group),
        )
        for number, group in enumerate(groups, start=1)
    ]
    contours = [
        _make_optuna_figure(
            f"contour-{first}-{second}",
            f"The value over {first} and {second}, interpolated between the trials (points); the best of those that "
            "share a point",
            optuna_plots.plot_contour(summary, trials, first, second),
        )
        for first, second in pairs
    ]
    return [
        _make_optuna_section(
            "Parallel coordinates", [_make_optuna_figure("parallel", "Each line is a complete trial", lines)]
        ),
        _make_optuna_section("Slices", slices),
        _make_optuna_section("Contours", contours),
    ]


def _make_optuna_figure(name: str, caption: str, plot: OptunaPlot | None) -> Figure | None:
    """Return a plot with its caption, which says where trials are left out; None where there is no plot."""
    if plot is None:
        return None
    part = f" ({plot.drawn} of {plot.complete} complete trials: the best, and others spread evenly over the search)"
    caption += part if plot.drawn < plot.complete else ""
    return Figure(name.replace("_", "-"), f"{caption}.", plot.make_figure, plot.render_png)


def _make_optuna_section(title: str, figures: Sequence[Figure | None]) -> ReportSection:
    drawn = tuple(figure for figure in figures if figure is not None)
    return ReportSection(
        title, drawn or (Paragraph("There are too few complete trials, or too little varies in them."),)
    )


def describe_confusions(material: ReportMaterial) -> ReportSection:
    """Show the best trial's confusion matrix, and those of compared configurations."""
    blocks: list[Block] = []
    best = material.answer.findings.best
    matrix = confusion_matrix.make_trial_matrix(best) if best else None
    if matrix:
        blocks += _make_matrix_blocks(material, "confusion-best", "The best trial", [matrix])
    matrices, subject = _select_matrices(material)
    if len(matrices) > 1:
        blocks += _make_matrix_blocks(material, "confusion-compared", subject, matrices)
    none = "No complete trial has a confusion matrix."
    if len(material.classes) > MAX_CONFUSED_CLASSES:
        none = (
            f"There are {len(material.classes):,} classes: confusion matrices are kept of up to {MAX_CONFUSED_CLASSES}."
        )
    return ReportSection("Confusion matrices", tuple(blocks) or (Paragraph(none),))


def _select_matrices(material: ReportMaterial) -> tuple[list[ConfusionMatrix], str]:
    """Return the matrices to compare, and what they are of: configurations, else levels of what matters most."""
    if matrices := confusion_matrix.sum_by_configuration(material.trials):
        return matrices, "The configurations that were trained"
    by_name = {effect.name: effect for effect in material.answer.findings.effects}
    direction = material.summary.study.spec.direction
    for name in (name for name in material.names_by_importance if name in by_name):
        matrices = confusion_matrix.select_by_level(by_name[name], material.trials, direction)
        if len(matrices) > 1:
            return matrices, f"The best trial of each level of {name}"
    return [], ""


def _make_matrix_blocks(
    material: ReportMaterial, name: str, subject: str, matrices: Sequence[ConfusionMatrix]
) -> list[Block]:
    caption = (
        f"{subject}: validation images by true class (rows) and predicted class (columns) at each trial's best epoch, "
        "as counts and percent of the row; shaded by the percent."
    )
    rows = tuple(
        (matrix.label, f"{matrix.accuracy:.1%}", ", ".join(map(str, matrix.find_confused_pairs(material.classes))))
        for matrix in matrices
    )
    columns = ("", "correct", "confused most (true class as predicted class, percent of the true class)")
    chart = confusion_matrix.plot_matrices(matrices, material.classes)
    return [make_figure_block(name, caption, chart), Table(columns, rows)]

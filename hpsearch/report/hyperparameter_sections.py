"""The chapters of a report on what the hyperparameters do."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from hpsearch.analysis import narrative
from hpsearch.analysis.effects import ENDINGS, Effect, Level, Quantity
from hpsearch.analysis.findings import Findings
from hpsearch.analysis.importance import Importance
from hpsearch.analysis.statistics import Estimate
from hpsearch.evaluation.results import EvaluationStatus
from hpsearch.formatting import format_count, format_params, format_value
from hpsearch.plotting import chart, confusion_matrix, hyperparameter_plots, optuna_plots
from hpsearch.plotting.chart import Axis, Bars, Chart, Panel
from hpsearch.plotting.confusion_matrix import ConfusionMatrix
from hpsearch.plotting.optuna_plots import OptunaPlot
from hpsearch.report.document import Block, Figure, Paragraph, Points, ReportSection, Table, make_figure_block
from hpsearch.spec.dimension import Choices, Dimension
from hpsearch.spec.sections import DATASETS
from hpsearch.storage.results import Summary, Trial

BEST = 10
"""Rows of the table of the best trials."""
SLICES = 4
"""Hyperparameters side by side."""
CONTOURS = 3
"""Hyperparameters whose pairs are drawn."""
NOTHING = "No trial has come far enough to show this."


@dataclass(frozen=True)
class ReportMaterial:
    """What a report is written from, all read in one transaction; `now` is the server's clock."""

    summary: Summary
    trials: Sequence[Trial]
    findings: Findings
    importance: Importance
    evaluations: Sequence[EvaluationStatus]
    now: datetime

    @property
    def metric(self) -> str:
        """What the study optimizes."""
        return self.findings.metric

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the data's classes."""
        return DATASETS[self.summary.study.spec.data.name].classes

    @property
    def compared(self) -> tuple[Effect, ...]:
        """The whole configurations, where they are few, then each hyperparameter; those with something to compare."""
        whole = self.findings.configurations
        found = (*([whole] if whole else []), *self.findings.effects)
        return tuple(effect for effect in found if any(level.trials for level in effect.levels))

    @property
    def order(self) -> tuple[str, ...]:
        """The searched hyperparameters, the most important ones first where that is known."""
        return tuple(share.name for share in self.importance.shares) or self.summary.study.spec.searched


def question(made: ReportMaterial) -> ReportSection:
    """What was asked, and what was done."""
    spec = made.summary.study.spec
    space = [f"{name}: {_searched(dimension)}" for name, dimension in spec.space.items()]
    chosen = "each written out in the study" if spec.listed else f"chosen by the {spec.sampler.name} sampler"
    done = (
        f"{format_count(spec.budget.trials, 'trial')} of up to {format_count(spec.budget.epochs, 'epoch')} on "
        f"{spec.data.name}, {chosen}; pruner: {spec.pruner.name}; metric: {spec.study.metric}."
    )
    asked = spec.study.description.strip() or "The study says no question of its own: which hyperparameters do best?"
    if spec.evaluation:
        tested = (
            "It is an evaluation of another study: every model was trained on training and validation images, and what "
            "is called validation below is the test."
        )
        return ReportSection("The question", (Paragraph(asked), Paragraph(done), Paragraph(tested, "note")))
    searched = "Searched, with everything else fixed:" if space else "Nothing is searched: the base model is trained."
    listed: list[Block] = [Points(tuple(space))] if space else []
    return ReportSection("The question", (Paragraph(asked), Paragraph(done), Paragraph(searched), *listed))


def _searched(dimension: Dimension) -> str:
    if isinstance(dimension, Choices):
        said = ", ".join(format_value(value) for value in dimension.values)
    else:
        steps = f" in steps of {dimension.step:g}" if dimension.step else ""
        said = f"{dimension.low:g} to {dimension.high:g}{', logarithmic' if dimension.log else ''}{steps}"
    needed = (dimension.when or {}).items()
    when = [f"{parent} is {' or '.join(format_value(value) for value in values)}" for parent, values in needed]
    return f"{said}; where {' and '.join(when)}" if when else said


def answer(made: ReportMaterial) -> ReportSection:
    """The answer in sentences, the caveats, and the best trials."""
    said = made.findings.sentences
    blocks: list[Block] = [Points(said.answer)]
    blocks += [Paragraph(caveat, "note") for caveat in said.caveats]
    complete = [trial for trial in made.trials if trial.state == "complete" and trial.value is not None]
    sign = -1 if made.summary.study.spec.direction == "maximize" else 1
    top = sorted(complete, key=lambda trial: (sign * (trial.value or 0.0), trial.number))[:BEST]
    if top:
        rows = tuple(
            (
                str(each.number),
                f"{each.value:.4f}",
                f"{each.best_epoch} of {len(each.epochs)}",
                format_params(each.params),
            )
            for each in top
        )
        blocks.append(Table(("trial", made.metric, "best epoch", "hyperparameters"), rows, "The best trials"))
    return ReportSection("The answer", tuple(blocks))


def importances(made: ReportMaterial) -> ReportSection:
    """Which hyperparameters matter, and from what that was computed."""
    found = made.importance
    blocks: list[Block] = [Paragraph(statement) for statement in found.statements]
    blocks += [Paragraph(warning, "warning") for warning in found.warnings]
    if found.shares:
        bars = Bars(
            tuple(float(row) for row in range(len(found.shares))),
            tuple(share.share for share in found.shares),
            low=tuple(share.low for share in found.shares),
            high=tuple(share.high for share in found.shares),
            hover=tuple(f"{each.name}: {each.share:.2f} ({each.low:.2f} to {each.high:.2f})" for each in found.shares),
        )
        rows = chart.make_row_axis([share.name for share in found.shares])
        panel = Panel("", Axis("share of the importance (fraction of 1)", low=0.0, high=1.0), rows, (bars,))
        picture = Chart((panel,), width=560, height=50 + 28 * max(2, len(found.shares)))
        blocks.append(
            make_figure_block(
                "importance",
                f"Shares over the values of {found.trials} trials until epoch {found.epoch}; the thin lines are "
                "the range over resamples of the trials.",
                picture,
            )
        )
    return ReportSection("Importance", tuple(blocks))


def effects(made: ReportMaterial) -> ReportSection:
    """Each hyperparameter's levels with their intervals."""
    blocks: list[Block] = [Paragraph(NOTHING)]
    if any(level.value for effect in made.compared for level in effect.levels):
        few = sum(trial.state == "complete" for trial in made.trials) <= hyperparameter_plots.MAX_POINTS
        caption = (
            "Mean over the complete trials of each level (how many in brackets) with its 95% interval"
            + ("; grey points are single trials." if few else "; there are too many trials to show each.")
            + " An interval that runs off the picture belongs to a level with very few trials."
        )
        blocks = _side_by_side(made, "effects", caption, "value")
    blocks += [_levels(effect, made.metric) for effect in made.compared]
    return ReportSection("Effects", tuple(blocks))


def _side_by_side(made: ReportMaterial, name: str, caption: str, quantity: Quantity) -> list[Block]:
    """A picture of the hyperparameters, and one of the whole configurations, whose names are long."""
    whole = made.findings.configurations
    parts = {
        name: [effect for effect in made.compared if effect is not whole],
        f"{name}-configurations": [effect for effect in made.compared if effect is whole],
    }
    trials = made.trials if quantity == "value" else ()
    return [
        make_figure_block(part, caption, hyperparameter_plots.plot_effects(found, quantity, made.metric, trials))
        for part, found in parts.items()
        if any(getattr(level, quantity) for effect in found for level in effect.levels)
    ]


def _levels(effect: Effect, metric: str) -> Table:
    endings = [kind for kind in ENDINGS if any(level.endings[kind] for level in effect.levels)]
    head = (
        effect.name,
        "trials",
        *(kind.label for kind in endings),
        f"{metric} (mean ± 95%)",
        "seconds an epoch",
        "overfitting gap",
    )
    rows = tuple(
        (
            level.label,
            str(len(level.trials)),
            *(str(level.endings[kind]) for kind in endings),
            narrative.format_level(level.value, metric) if level.value else "",
            _seconds(level.seconds),
            narrative.format_amount(level.gap.mean, level.gap.half, "val_accuracy") if level.gap else "",
        )
        for level in effect.levels
    )
    return Table(head, rows, f"{effect.name}" + (f", where {effect.when}" if effect.when else ""))


def _seconds(each: Estimate | None) -> str:
    if each is None:
        return ""
    return f"{each.mean:.3g}" + (f" ± {each.half:.2g}" if each.half is not None else "")


def curves(made: ReportMaterial) -> ReportSection:
    """Learning curves side by side."""
    blocks: list[Block] = []
    for effect in made.compared:
        if any(hyperparameter_plots.select_representatives(level, made.trials) for level in effect.levels):
            caption = (
                f"Learning curves by {effect.name}: means over each level's complete trials (over all of them where "
                f"none is complete) with 95% intervals; thin lines are single trials, "
                f"where at most {hyperparameter_plots.MAX_SINGLE_CURVES} are."
            )
            blocks.append(
                make_figure_block(
                    f"curves-{effect.name}", caption, hyperparameter_plots.plot_curves(effect, made.trials)
                )
            )
    return ReportSection("Learning curves", tuple(blocks) or (Paragraph(NOTHING),))


def rate(made: ReportMaterial) -> ReportSection:
    """How soon trials reach given accuracies."""
    blocks: list[Block] = []
    for effect in made.compared:
        if any(reach.trials for level in effect.levels for reach in level.reached):
            caption = (
                f"Epochs and seconds to a validation accuracy by {effect.name}: medians of the trials that "
                "reached it, where these are at least half as many as the complete ones."
            )
            blocks.append(make_figure_block(f"rate-{effect.name}", caption, hyperparameter_plots.plot_rate(effect)))
            blocks.append(_reached(effect, made.findings.accuracies))
    if blocks:
        said = "Trials that never reached an accuracy, or were ended before, have no part in its medians."
        blocks.insert(0, Paragraph(said, "note"))
    return ReportSection("Training rate", tuple(blocks) or (Paragraph(NOTHING),))


def _reached(effect: Effect, accuracies: Sequence[float]) -> Table:
    head = (effect.name, *(f"to {accuracy:.0%}" for accuracy in accuracies))
    rows = tuple((level.label, *(_reach(level, place) for place in range(len(accuracies)))) for level in effect.levels)
    return Table(head, rows, f"Epochs and seconds to an accuracy by {effect.name}, and how many trials reached it")


def _reach(level: Level, place: int) -> str:
    reach = level.reached[place]
    if reach.epoch is None or reach.seconds is None:
        return "–"
    return f"{narrative.format_epochs(reach.epoch)}, {reach.seconds:.3g} s ({reach.trials} of {len(level.trials)})"


def gap(made: ReportMaterial) -> ReportSection:
    """Training accuracy less validation accuracy."""
    blocks: list[Block] = [Points(made.findings.sentences.gap)] if made.findings.sentences.gap else []
    if any(level.gap for effect in made.compared for level in effect.levels):
        caption = (
            "Training accuracy less validation accuracy at the last epoch of complete trials, mean with 95% interval. "
            "Training accuracy is measured with dropout on, while the weights change, so a little below 0 is no wonder."
        )
        blocks += _side_by_side(made, "gap", caption, "gap")
    return ReportSection("Overfitting gap", tuple(blocks) or (Paragraph(NOTHING),))


def cost(made: ReportMaterial) -> ReportSection:
    """Seconds an epoch, and accuracy against time."""
    blocks: list[Block] = [Points(made.findings.sentences.cost)] if made.findings.sentences.cost else []
    if any(level.seconds for effect in made.compared for level in effect.levels):
        caption = (
            "Seconds an epoch, training and validating: each trial's median over its epochs but the first, then the "
            "mean of those with its 95% interval. Trials on different devices are mixed: see the environment."
        )
        blocks += _side_by_side(made, "seconds", caption, "seconds")
    for effect in made.compared:
        if any(hyperparameter_plots.select_representatives(level, made.trials) for level in effect.levels):
            caption = f"Validation accuracy against the time trained, by {effect.name}: means over complete trials."
            blocks.append(
                make_figure_block(
                    f"time-{effect.name}", caption, hyperparameter_plots.plot_accuracy_by_time(effect, made.trials)
                )
            )
    return ReportSection("Cost", tuple(blocks) or (Paragraph(NOTHING),))


def together(made: ReportMaterial) -> list[ReportSection]:
    """Optuna's plots: parallel coordinates, slices, contours."""
    names = made.order
    lines = optuna_plots.plot_parallel_coordinates(made.summary, made.trials, names)
    parts = [names[start : start + SLICES] for start in range(0, len(names), SLICES)]
    sliced = [(part, optuna_plots.plot_slices(made.summary, made.trials, part)) for part in parts]
    top = names[:CONTOURS]
    pairs = [(first, second) for place, first in enumerate(top) for second in top[place + 1 :]]
    contours = [(pair, optuna_plots.plot_contour(made.summary, made.trials, *pair)) for pair in pairs]
    return [
        _optuna("Parallel coordinates", [("parallel", "A line a complete trial", lines)]),
        _optuna("Slices", [(f"slices-{place}", _slice(part), plot) for place, (part, plot) in enumerate(sliced, 1)]),
        _optuna("Contours", [(f"contour-{a}-{b}", _contour(a, b), plot) for (a, b), plot in contours]),
    ]


def _slice(part: Sequence[str]) -> str:
    return f"The value of each trial against {', '.join(part)}; darker ones came later"


def _contour(first: str, second: str) -> str:
    return (
        f"The value over {first} and {second}, interpolated between the trials (points); the best of those that share "
        "a place"
    )


def _optuna(title: str, plotted: Sequence[tuple[str, str, OptunaPlot | None]]) -> ReportSection:
    blocks: list[Block] = []
    for name, caption, plot in plotted:
        if plot is not None:
            part = (
                f"{plot.drawn} of {plot.complete} complete trials: the best, and others spread evenly over the search"
            )
            whole = caption + (f" ({part})." if plot.drawn < plot.complete else ".")
            blocks.append(Figure(name.replace("_", "-"), whole, plot.make_figure, plot.render_png))
    return ReportSection(
        title, tuple(blocks) or (Paragraph("There are too few complete trials, or too little varies in them."),)
    )


def confusions(made: ReportMaterial) -> ReportSection:
    """The best trial's confusion matrix, and those of compared configurations."""
    blocks: list[Block] = []
    best = confusion_matrix.make_trial_matrix(made.findings.best) if made.findings.best else None
    if best:
        blocks += _confusion("confusion-best", "The best trial", [best], made)
    others, what = _compared(made)
    if len(others) > 1:
        blocks += _confusion("confusion-compared", what, others, made)
    said = "No complete trial has a confusion matrix."
    return ReportSection("Confusion matrices", tuple(blocks) or (Paragraph(said),))


def _compared(made: ReportMaterial) -> tuple[list[ConfusionMatrix], str]:
    if found := confusion_matrix.sum_by_configuration(made.trials):
        return found, "The configurations that were trained"
    by_name = {effect.name: effect for effect in made.findings.effects}
    for name in (name for name in made.order if name in by_name):
        found = confusion_matrix.select_by_level(by_name[name], made.trials, made.summary.study.spec.direction)
        if len(found) > 1:
            return found, f"The best trial of each level of {name}"
    return [], ""


def _confusion(name: str, what: str, found: Sequence[ConfusionMatrix], made: ReportMaterial) -> list[Block]:
    caption = (
        f"{what}: validation images by class (rows) and by what they were taken for (columns) at each trial's best "
        "epoch, as counts and percent of the row; shaded by the percent."
    )
    rows = tuple(
        (each.label, f"{each.accuracy:.1%}", ", ".join(str(pair) for pair in each.find_confused_pairs(made.classes)))
        for each in found
    )
    table = Table(("", "right", "confused most (true class as taken for, percent of the class)"), rows)
    return [make_figure_block(name, caption, confusion_matrix.plot_matrices(found, made.classes)), table]

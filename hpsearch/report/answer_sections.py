"""The first sections of a report: the question, the answer in sentences, and which hyperparameters matter."""

from collections.abc import Sequence

from hpsearch.analysis import class_balance, findings
from hpsearch.analysis.anova.level_differences import MIN_SUPPORT, LevelDifference, Where, find_best_level
from hpsearch.formatting import format_count, format_difference, format_params, format_value
from hpsearch.plotting import chart
from hpsearch.plotting.chart import Axis, Bars, Chart, Panel
from hpsearch.report.document import Block, BulletList, Paragraph, ReportSection, Table, make_figure_block
from hpsearch.report.material import ReportMaterial
from hpsearch.spec.dimension import Choices, Dimension

READINGS = {Where.SPACE: "over the search space", Where.GOOD: "among good configurations"}
"""Column headings."""
MAX_BEST = 10
"""Rows of the table of the best trials."""


def describe_question(material: ReportMaterial) -> ReportSection:
    """Describe what was asked, and what was searched."""
    spec = material.summary.study.spec
    chosen = "each written out in the study" if spec.listed else f"chosen by the {spec.sampler.name} sampler"
    search = (
        f"{format_count(spec.budget.trials, 'trial')} of up to {format_count(spec.budget.epochs, 'epoch')} on "
        f"{spec.data.title}, {chosen}; pruner: {spec.pruner.name}; metric: {spec.study.metric}."
    )
    question = spec.study.description.strip() or "The study asks no question of its own: which hyperparameters do best?"
    blocks: list[Block] = [Paragraph(question), Paragraph(search)]
    blocks += [Paragraph(sentence) for sentence in class_balance.describe_images(spec)]
    if spec.evaluation:
        tested = (
            "It is an evaluation of another study: every model was trained on training and validation images, and what "
            "is called validation below is the test."
        )
        blocks.append(Paragraph(tested, "note"))
    elif spec.space:
        blocks.append(Paragraph("Searched, with everything else fixed:"))
        blocks.append(BulletList(tuple(f"{name}: {_format_dimension(each)}" for name, each in spec.space.items())))
    else:
        blocks.append(Paragraph("Nothing is searched: the base model is trained."))
    return ReportSection("The question", tuple(blocks))


def _format_dimension(dimension: Dimension) -> str:
    """Return `0.0001 to 0.1, logarithmic; where optimizer is sgd or momentum`."""
    if isinstance(dimension, Choices):
        values = ", ".join(format_value(value) for value in dimension.values)
    else:
        steps = f" in steps of {dimension.step:g}" if dimension.step else ""
        values = f"{dimension.low:g} to {dimension.high:g}{', logarithmic' if dimension.log else ''}{steps}"
    conditions = [
        f"{parent} is {' or '.join(format_value(value) for value in allowed)}"
        for parent, allowed in (dimension.when or {}).items()
    ]
    return f"{values}; where {' and '.join(conditions)}" if conditions else values


def describe_answer(material: ReportMaterial) -> ReportSection:
    """Give the answer in sentences, its caveats, and the best trials."""
    sentences = material.answer.sentences
    blocks: list[Block] = [BulletList(sentences.answer)]
    blocks += [Paragraph(caveat, "note") for caveat in sentences.caveats]
    best = findings.rank_trials(material.summary.study.spec, material.trials)[:MAX_BEST]
    if best:
        rows = tuple(
            (
                str(trial.number),
                f"{trial.value:.4f}",
                f"{trial.best_epoch} of {len(trial.epochs)}",
                format_params(trial.params),
            )
            for trial in best
        )
        blocks.append(Table(("trial", material.metric, "best epoch", "hyperparameters"), rows, "The best trials"))
    return ReportSection("The answer", tuple(blocks))


def describe_importance(material: ReportMaterial) -> ReportSection:
    """Say which hyperparameters matter, and from what that was computed."""
    importance = material.answer.importance
    blocks: list[Block] = [Paragraph(statement) for statement in importance.statements]
    blocks += [Paragraph(warning, "warning") for warning in importance.warnings]
    if importance.shares:
        caption = (
            f"Shares of the variance over the search space, each hyperparameter by itself, from {importance.trials} "
            f"trials at epoch {importance.epoch}; the thin lines are 95% intervals."
        )
        blocks.append(make_figure_block("importance", caption, _plot_importance(material)))
    return ReportSection("Importance", tuple(blocks))


def _plot_importance(material: ReportMaterial) -> Chart:
    shares = material.answer.importance.shares
    bars = Bars(
        tuple(float(row) for row in range(len(shares))),
        tuple(share.share for share in shares),
        low=tuple(share.low for share in shares),
        high=tuple(share.high for share in shares),
        hover=tuple(f"{share.name}: {share.share:.2f} ({share.low:.2f} to {share.high:.2f})" for share in shares),
    )
    rows = chart.make_row_axis([share.name for share in shares])
    panel = Panel("", Axis("share of the variance (fraction of 1)", low=0.0, high=1.0), rows, (bars,))
    return Chart((panel,), width=560, height=50 + 28 * max(2, len(shares)))


def compare_levels(material: ReportMaterial) -> tuple[ReportSection, ...]:
    """Compare the levels of each hyperparameter at the epoch that all trials reached, and at the last one.

    No section where none can be compared.
    """
    epochs = sorted({each.epoch for each in material.answer.importance.all_differences})
    return tuple(_compare_levels(epoch, material) for epoch in epochs)


def _compare_levels(epoch: int, material: ReportMaterial) -> ReportSection:
    importance, last = material.answer.importance, material.summary.study.spec.budget.epochs
    explanation = (
        "How much worse each level is than the one that is best among good configurations, where everything else is as "
        "in the best tenth of the space; in brackets 95% intervals."
    )
    if epoch == importance.epoch:
        explanation = (
            f"From the {importance.trials} trials at epoch {epoch}. {explanation} Over the search space: on average "
            "over everything that may be tried."
        )
        if epoch < last:
            explanation += " This is no claim about the end of training: curves may cross."
    elif importance.final:
        explanation = (
            f"From all trials, through a model of how they change from rung to rung; {importance.final.trials} of them "
            f"learned something until epoch {epoch}. Levels of which fewer than {MIN_SUPPORT} did are left out. "
            f"{explanation}"
        )
    tables = [_tabulate_differences(name, epoch, material) for name in material.names_by_importance]
    blocks: list[Block] = [Paragraph(explanation), *(table for table in tables if table.rows)]
    return ReportSection(f"Levels at epoch {epoch}", tuple(blocks))


def _tabulate_differences(name: str, epoch: int, material: ReportMaterial) -> Table:
    differences = material.answer.importance.all_differences
    pairs = [each for each in differences if each.name == name and each.epoch == epoch]
    good = [each for each in pairs if each.where is Where.GOOD]
    best = find_best_level(good) if good else ""
    readings = [where for where in Where if any(each.where is where for each in pairs)]
    rows = tuple(
        (other, *(_describe_distance(pairs, best, other, where, material) for where in readings))
        for other in dict.fromkeys(level for each in good for level in (each.better, each.worse))
        if other != best
    )
    return Table((name, *(READINGS[where] for where in readings)), rows, f"{name}: against {best}")


def _describe_distance(
    pairs: Sequence[LevelDifference], best: str, other: str, where: Where, material: ReportMaterial
) -> str:
    """Write `21.3 points worse (18.1 to 24.0)`, and whether that is not settled."""
    pair = next(each for each in pairs if each.where is where and {each.better, each.worse} == {best, other})
    text = format_difference(*pair.orient(best), material.summary.study.spec.study.metric)
    return text if pair.is_settled else f"{text}, not settled"

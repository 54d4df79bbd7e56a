"""The section of a report on the test images, for a study that was evaluated on them."""

from collections.abc import Sequence

from hpsearch.evaluation.results import EvaluationStatus
from hpsearch.evaluation.scores import EvaluationResult
from hpsearch.formatting import capitalize
from hpsearch.plotting import confusion_matrix
from hpsearch.plotting.confusion_matrix import ConfusionMatrix
from hpsearch.report import evaluation_tables
from hpsearch.report.document import Block, Paragraph, ReportSection, Table, make_figure_block


def describe_test(statuses: Sequence[EvaluationStatus]) -> list[ReportSection]:
    """Return the section on a study's evaluations; none where there is no evaluation."""
    blocks = [block for status in statuses for block in _describe_evaluation(status)]
    return [ReportSection("The test images", tuple(blocks))] if blocks else []


def _describe_evaluation(status: EvaluationStatus) -> list[Block]:
    evaluation, summary = status.evaluation, status.summary
    result = evaluation.result
    if result is None:
        ended = "it was deleted"
        if summary:
            ended = f"{summary.ended} trials of it have ended"
        name = evaluation.study.name if evaluation.study else "its study"
        return [Paragraph(f"Evaluation {evaluation.number} ({name}) has no result yet: {ended}.")]
    return [
        *(
            Table(table.columns, table.rows, capitalize(table.caption))
            for table in evaluation_tables.make_tables(evaluation)
        ),
        *_plot_confusion(evaluation.number, result),
        *(Paragraph(f"{capitalize(line)}.", "note") for line in evaluation_tables.list_remarks(status)),
    ]


def _plot_confusion(number: int, result: EvaluationResult) -> list[Block]:
    if not result.ensemble.confusion:
        return []
    matrix = ConfusionMatrix("ensemble of all models", (), result.ensemble.confusion)
    caption = (
        "Test images by true class (rows) and by the class that the ensemble of all models predicts (columns), as "
        "counts and percent of the row."
    )
    chart = confusion_matrix.plot_matrices([matrix], result.classes)
    return [make_figure_block(f"confusion-test-{number}", caption, chart)]

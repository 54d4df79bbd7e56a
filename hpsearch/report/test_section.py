"""The chapter of a report on the test images, for a study that was evaluated on them."""

from collections.abc import Sequence

from hpsearch.evaluation.results import EvaluationStatus
from hpsearch.plotting import confusion_matrix
from hpsearch.plotting.confusion_matrix import ConfusionMatrix
from hpsearch.report import evaluation_tables
from hpsearch.report.document import Block, Paragraph, ReportSection, Table, make_figure_block

OVER = ("complete", "pruned", "failed")


def describe_test(standings: Sequence[EvaluationStatus]) -> list[ReportSection]:
    """What each evaluation came to; nothing where there is none."""
    blocks: list[Block] = []
    for standing in standings:
        blocks += _evaluation(standing)
    return [ReportSection("The test images", tuple(blocks))] if blocks else []


def _evaluation(standing: EvaluationStatus) -> list[Block]:
    asked, summary = standing.evaluation, standing.summary
    if asked.result is None:
        said = f"{sum(summary.counts[s] for s in OVER)} trials of it have ended" if summary else "it was deleted"
        name = asked.study.name if asked.study else "its study"
        return [Paragraph(f"Evaluation {asked.number} ({name}) has no result yet: {said}.")]
    boards = list(evaluation_tables.make_tables(standing))
    blocks: list[Block] = [Table(each.columns, each.rows, each.title) for each in boards[:-1]]
    together = asked.result["ensemble"]
    counts = tuple(tuple(int(n) for n in row) for row in together["confusion"])
    found = ConfusionMatrix("ensemble of all models", (), counts)
    caption = (
        "Test images by class (rows) and by what the ensemble of all models took them for (columns), as counts and "
        "percent of the row."
    )
    name = f"confusion-test-{asked.number}"
    blocks.append(
        make_figure_block(name, caption, confusion_matrix.plot_matrices([found], tuple(asked.result["classes"])))
    )
    return [*blocks, *(Paragraph(_sentence(line), "note") for line in evaluation_tables.list_remarks(standing))]


def _sentence(line: str) -> str:
    return f"{line[:1].upper()}{line[1:]}."

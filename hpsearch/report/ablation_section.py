"""The section of a report on the ablation around the best configuration, for a study that has one."""

from hpsearch.evaluation.ablation import AblationResult
from hpsearch.formatting import capitalize
from hpsearch.report import ablation_tables
from hpsearch.report.document import Block, Paragraph, ReportSection, Table


def describe_ablation(result: AblationResult | None) -> list[ReportSection]:
    """Return the section on a study's latest ablation; none while there is no result."""
    if result is None:
        return []
    blocks: list[Block] = [
        Paragraph(
            "One hyperparameter changed at a time, each trained for all epochs with the same seeds. This is measured, "
            "and not computed from the search."
        ),
        *(Paragraph(f"{capitalize(line)}.", "note") for line in ablation_tables.list_remarks(result)),
        *(Table(table.columns, table.rows, capitalize(table.caption)) for table in ablation_tables.make_tables(result)),
    ]
    return [ReportSection(f"Around trial {result.table.trial}", tuple(blocks))]

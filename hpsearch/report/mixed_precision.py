"""The remark on trials that were not all computed in the same precision."""

from collections.abc import Mapping

from hpsearch.formatting import format_count, join_words


def describe_mixed_precision(counts: Mapping[str, int]) -> str | None:
    """Return a line on the trials of each precision (`results.count_precisions`); None where all have the same."""
    if len(counts) < 2:
        return None
    ordered = sorted(counts.items(), key=lambda item: -item[1])
    parts = [f"{format_count(count, 'trial')} in {precision}" for precision, count in ordered]
    return (
        f'not all trials were computed in the same precision: {join_words(parts)}; with precision = "auto" a worker '
        'takes what is faster on its host for a model of this kind, with "float32" all would be the same'
    )

"""The levels of a searched hyperparameter: its choices, or bins of its range with round edges."""

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from hpsearch.formatting import format_distinct
from hpsearch.spec.dimension import Choices, Dimension, Range
from hpsearch.spec.rows import Value

MAX_BINS = 5
MAX_POINTS = 12
"""A range that holds more values than these is binned."""
MIN_TRIALS = 4
"""Trials in a bin, where there are enough of them for several such bins."""

LOG_MANTISSAS = ((1, 2, 5), (1, 3), (1,))
"""Round edges within a decade, the finest first."""
STEPS = (1.0, 2.0, 2.5, 5.0, 10.0, 20.0)
"""Round distances between linear edges, the smallest first, in powers of ten."""


@dataclass(frozen=True)
class Bin:
    """A level's label, and which values belong to it.

    A bin of a range contains its low edge; its high edge belongs to the next bin, except in the last one.
    """

    label: str
    contains: Callable[[Value], bool]


def make_bins(dimension: Dimension, tried: Sequence[Value]) -> list[Bin]:
    """Return the levels in the order of the file, or ascending.

    Args:
        dimension: what was searched.
        tried: the value of every trial that has ended; neighbouring bins with fewer than `MIN_TRIALS` are joined.
    """
    points = _list_points(dimension)
    if points or isinstance(dimension, Choices):
        return [Bin(label, _equals(value)) for label, value in zip(format_distinct(points), points, strict=True)]
    edges = _join_sparse(_choose_edges(dimension), [float(value) for value in tried])
    labels = _label_edges(dimension, edges)
    return [_make_bin(dimension, low, high, labels) for low, high in itertools.pairwise(edges)]


def _list_points(dimension: Dimension) -> Sequence[Value]:
    """Return all values there are, where these are choices or few; else none."""
    if isinstance(dimension, Choices):
        return dimension.values
    if dimension.size is not None:
        return dimension.list_points() if dimension.size <= MAX_POINTS else ()
    few = dimension.integer and dimension.high - dimension.low < MAX_POINTS
    return range(int(dimension.low), int(dimension.high) + 1) if few else ()


def _equals(value: Value) -> Callable[[Value], bool]:
    return lambda tried: tried == value


def _make_bin(dimension: Range, low: float, high: float, labels: Mapping[float, str]) -> Bin:
    last = high == dimension.high
    upper = labels[high] if last or not dimension.integer else f"{high - 1:g}"
    label = f"{labels[low]} to {upper}" if labels[low] != upper else upper
    return Bin(label, lambda tried: low <= float(tried) < high or (last and tried == high))


def _label_edges(dimension: Range, edges: Sequence[float]) -> dict[float, str]:
    """Return the text of every edge, with as many digits as tell them apart."""
    for digits in range(3, 18):
        labels = {edge: f"{edge:.{digits}g}" for edge in edges}
        if len(set(labels.values())) == len(edges):
            break
    if not dimension.log or dimension.integer:
        return labels
    return {edge: _format_scientific(edge, digits) if edge < 1 else label for edge, label in labels.items()}


def _choose_edges(dimension: Range) -> list[float]:
    """Return the range's ends and the round numbers between them, for at most `MAX_BINS` bins."""
    low, high = float(dimension.low), float(dimension.high)
    between = _choose_log_edges(low, high) if dimension.log else _choose_linear_edges(low, high)
    if dimension.integer:
        between = sorted({float(math.ceil(edge)) for edge in between})
    return [low, *(edge for edge in between if low < edge < high), high]


def _choose_log_edges(low: float, high: float) -> list[float]:
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    for mantissas in LOG_MANTISSAS:
        edges = [float(f"{mantissa}e{power}") for power in range(first, last + 1) for mantissa in mantissas]
        between = [edge for edge in edges if low < edge < high]
        if len(between) < MAX_BINS:
            return between
    stride = math.ceil((len(between) + 1) / MAX_BINS)
    return between[stride - 1 :: stride]


def _choose_linear_edges(low: float, high: float) -> list[float]:
    scale = 10.0 ** (math.floor(math.log10((high - low) / MAX_BINS)))
    for step in (factor * scale for factor in STEPS):
        first, last = math.floor(low / step) + 1, math.ceil(high / step - 1e-9)
        between = [float(f"{n * step:.12g}") for n in range(first, last)]
        if len(between) < MAX_BINS:
            return between
    return []


def _join_sparse(edges: Sequence[float], tried: Sequence[float]) -> list[float]:
    """Return the edges without those between a bin of too few trials and its emptier neighbour."""
    edges = list(edges)
    while len(edges) > 2:
        counts = [sum(low <= value < high for value in tried) for low, high in itertools.pairwise(edges)]
        counts[-1] += tried.count(edges[-1])
        least = counts.index(min(counts))
        if counts[least] >= MIN_TRIALS:
            break
        left = counts[least - 1] if least else math.inf
        right = counts[least + 1] if least + 1 < len(counts) else math.inf
        del edges[least if left <= right else least + 1]
    return edges


def _format_scientific(value: float, digits: int) -> str:
    """Return the value as `1e-4`, with at most that many significant digits."""
    mantissa, power = f"{value:.{digits - 1}e}".split("e")
    return f"{mantissa.rstrip('0').rstrip('.')}e{int(power)}"

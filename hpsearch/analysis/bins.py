"""The levels of a searched hyperparameter: its choices, or bins of its range with round edges."""

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from hpsearch.formatting import format_distinct
from hpsearch.spec.dimension import Choices, Dimension, Range
from hpsearch.spec.hyperparameters import Value

MOST_BINS = 5
MOST_POINTS = 12
"""A range that holds more values than these is binned."""
FEWEST = 4
"""Trials in a bin, where there are enough of them for several such bins."""

LOG_EDGES = ((1, 2, 5), (1, 3), (1,))
"""Round edges within a decade, the finest first."""
STEPS = (1.0, 2.0, 2.5, 5.0, 10.0, 20.0)


@dataclass(frozen=True)
class Bin:
    """What is told apart: one value, or those from `low` up to `high` (`high` itself where it is the range's end)."""

    label: str
    holds: Callable[[Value], bool]


def make_bins(dimension: Dimension, tried: Sequence[Value]) -> list[Bin]:
    """The levels in the order of the file, or ascending.

    Args:
        dimension: what was searched.
        tried: the value of every trial that has ended; neighbouring bins with fewer than `FEWEST` are joined.
    """
    points = _points(dimension)
    if points or isinstance(dimension, Choices):
        return [Bin(label, _equals(value)) for label, value in zip(format_distinct(points), points, strict=True)]
    edges = _joined(_edges(dimension), [float(value) for value in tried])
    return [_bin(dimension, low, high, _written(dimension, edges)) for low, high in itertools.pairwise(edges)]


def _points(dimension: Dimension) -> Sequence[Value]:
    """All values there are, where these are choices or few."""
    if isinstance(dimension, Choices):
        return dimension.values
    if dimension.size is not None:
        return dimension.points() if dimension.size <= MOST_POINTS else ()
    few = dimension.integer and dimension.high - dimension.low < MOST_POINTS
    return range(int(dimension.low), int(dimension.high) + 1) if few else ()


def _equals(value: Value) -> Callable[[Value], bool]:
    return lambda tried: tried == value


def _bin(dimension: Range, low: float, high: float, written: Mapping[float, str]) -> Bin:
    last = high == dimension.high
    upper = written[high] if last or not dimension.integer else f"{high - 1:g}"
    label = f"{written[low]} to {upper}" if written[low] != upper else upper
    return Bin(label, lambda tried: low <= float(tried) < high or (last and tried == high))


def _written(dimension: Range, edges: Sequence[float]) -> dict[float, str]:
    """Every edge, with as many digits as tell them apart."""
    for digits in range(3, 18):
        written = {edge: f"{edge:.{digits}g}" for edge in edges}
        if len(set(written.values())) == len(edges):
            break
    if not dimension.log or dimension.integer:
        return written
    return {edge: _scientific(edge, digits) if edge < 1 else label for edge, label in written.items()}


def _edges(dimension: Range) -> list[float]:
    """The range's ends and the round numbers between them, for at most `MOST_BINS` bins."""
    low, high = float(dimension.low), float(dimension.high)
    between = _log_edges(low, high) if dimension.log else _linear_edges(low, high)
    if dimension.integer:
        between = sorted({float(math.ceil(edge)) for edge in between})
    return [low, *(edge for edge in between if low < edge < high), high]


def _log_edges(low: float, high: float) -> list[float]:
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    for digits in LOG_EDGES:
        edges = [float(f"{digit}e{power}") for power in range(first, last + 1) for digit in digits]
        between = [edge for edge in edges if low < edge < high]
        if len(between) < MOST_BINS:
            return between
    every = math.ceil((len(between) + 1) / MOST_BINS)
    return between[every - 1 :: every]


def _linear_edges(low: float, high: float) -> list[float]:
    scale = 10.0 ** (math.floor(math.log10((high - low) / MOST_BINS)))
    for step in (each * scale for each in STEPS):
        first, last = math.floor(low / step) + 1, math.ceil(high / step - 1e-9)
        between = [float(f"{n * step:.12g}") for n in range(first, last)]
        if len(between) < MOST_BINS:
            return between
    return []


def _joined(edges: list[float], tried: list[float]) -> list[float]:
    """Without the edges beside bins that too few trials fell into."""
    while len(edges) > 2:
        counts = [sum(low <= value < high for value in tried) for low, high in itertools.pairwise(edges)]
        counts[-1] += tried.count(edges[-1])
        least = counts.index(min(counts))
        if counts[least] >= FEWEST:
            break
        left = counts[least - 1] if least else math.inf
        right = counts[least + 1] if least + 1 < len(counts) else math.inf
        del edges[least if left <= right else least + 1]
    return edges


def _scientific(value: float, digits: int) -> str:
    """`1e-4`."""
    mantissa, power = f"{value:.{digits - 1}e}".split("e")
    return f"{mantissa.rstrip('0').rstrip('.')}e{int(power)}"

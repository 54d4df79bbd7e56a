"""The search space as the functional ANOVA sees it: each hyperparameter a row of cells, and functions over them."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from hpsearch.spec.dimension import Choices, Dimension, Range
from hpsearch.spec.rows import Value
from hpsearch.spec.search_space import order_names

Floats = NDArray[np.float64]
Cells = NDArray[np.int64]
"""Configurations (n, axes): the cell of each hyperparameter, and `INACTIVE` where the configuration has none."""

INACTIVE = -1

CELLS = 16
"""Cells of a range without a step."""

MAIN_LENGTHS = (0.6, 0.15)
"""Length scales of the two smooth parts of a range's main effect, as fractions of the range: a trend and a bend."""
INTERACTION_LENGTH = 0.33

LEAST_EIGENVALUE = 2e-3
"""Of the largest one: functions of a smaller eigenvalue change a prediction by less than any noise seen."""


@dataclass(frozen=True)
class SpaceAxis:
    """One searched hyperparameter: cells that a uniform draw from the space falls into equally often."""

    name: str
    dimension: Dimension
    positions: tuple[float, ...]
    """Of the cells' middles within the range, from 0 to 1, on its own scale; the index for choices."""
    values: tuple[Value, ...]
    """The choice, or the value in the middle, of each cell."""

    @property
    def size(self) -> int:
        """How many cells there are."""
        return len(self.values)

    def find_cell(self, value: Value) -> int:
        """Return the cell that `value` falls into."""
        if isinstance(self.dimension, Choices):
            return self.dimension.values.index(value)
        position = _position(self.dimension, float(value))
        return int(np.argmin(np.abs(np.array(self.positions) - position)))

    @cached_property
    def main_bases(self) -> tuple[Floats, ...]:
        """Functions over the cells (cells, functions) for the main effect; each part has a scale of its own."""
        if isinstance(self.dimension, Choices):
            return (_contrast_choices(self.size),)
        return tuple(_smooth(self.positions, length) for length in MAIN_LENGTHS)

    @cached_property
    def interaction_basis(self) -> Floats:
        """Functions over the cells (cells, functions) whose products make the interactions."""
        if isinstance(self.dimension, Choices):
            return _contrast_choices(self.size)
        return _smooth(self.positions, INTERACTION_LENGTH)


def make_axes(space: Mapping[str, Dimension]) -> tuple[SpaceAxis, ...]:
    """Return an axis for each hyperparameter that has more than one value, parents before children."""
    axes = [_make_axis(name, space[name]) for name in order_names(space)]
    return tuple(axis for axis in axes if axis.size > 1)


def find_cells(axes: Sequence[SpaceAxis], params: Sequence[Mapping[str, Value]]) -> Cells:
    """Return the cells of configurations; a hyperparameter that one lacks is inactive in it."""
    rows = [[axis.find_cell(each[axis.name]) if axis.name in each else INACTIVE for axis in axes] for each in params]
    return np.array(rows, dtype=np.int64).reshape(len(params), len(axes))


def draw_cells(axes: Sequence[SpaceAxis], count: int, random: np.random.Generator) -> Cells:
    """Draw configurations uniformly from the space, each cell of an axis equally often; conditions not yet applied."""
    columns = [random.permutation(np.arange(count) % axis.size) for axis in axes]
    return np.stack(columns, axis=1) if columns else np.zeros((count, 0), dtype=np.int64)


def deactivate(axes: Sequence[SpaceAxis], cells: Cells) -> Cells:
    """Return the configurations with what their conditions rule out marked as inactive."""
    numbers = {axis.name: i for i, axis in enumerate(axes)}
    active = cells.copy()
    for i, axis in enumerate(axes):
        for parent, values in (axis.dimension.when or {}).items():
            if parent not in numbers:  # it has one value, which lets the child be or the study would not search it
                continue
            parent_axis = axes[numbers[parent]]
            allowed = [cell for cell, value in enumerate(parent_axis.values) if value in values]
            active[~np.isin(active[:, numbers[parent]], allowed), i] = INACTIVE
    return active


def _make_axis(name: str, dimension: Dimension) -> SpaceAxis:
    if isinstance(dimension, Choices):
        return SpaceAxis(name, dimension, tuple(float(i) for i in range(dimension.size)), dimension.values)
    count = dimension.size or (int(dimension.high - dimension.low) + 1 if dimension.integer else CELLS + 1)
    if count <= CELLS:
        points = dimension.list_points() if dimension.size else range(int(dimension.low), int(dimension.high) + 1)
        return SpaceAxis(name, dimension, tuple(_position(dimension, float(point)) for point in points), tuple(points))
    positions = tuple((i + 0.5) / CELLS for i in range(CELLS))
    return SpaceAxis(name, dimension, positions, tuple(_value(dimension, position) for position in positions))


def _position(dimension: Range, value: float) -> float:
    if dimension.high == dimension.low:
        return 0.0
    if dimension.log:
        return math.log(value / dimension.low) / math.log(dimension.high / dimension.low)
    return (value - dimension.low) / (dimension.high - dimension.low)


def _value(dimension: Range, position: float) -> float:
    if dimension.log:
        return float(dimension.low * (dimension.high / dimension.low) ** position)
    return float(dimension.low + (dimension.high - dimension.low) * position)


def _contrast_choices(count: int) -> Floats:
    """Return the centred identity: every choice may differ from the mean alike."""
    return _span(np.eye(count) - 1 / count, 0.5)


def _smooth(positions: Sequence[float], length: float) -> Floats:
    """Return the centred eigenfunctions of a squared-exponential kernel."""
    x = np.array(positions)
    kernel = np.exp(-0.5 * ((x[:, None] - x[None, :]) / length) ** 2)
    centre = np.eye(x.size) - 1 / x.size
    return _span(centre @ kernel @ centre, LEAST_EIGENVALUE)


def _span(covariance: Floats, least: float) -> Floats:
    """Return functions whose independent, unit-variance sum has this covariance, scaled to a mean variance of 1."""
    eigenvalues, vectors = np.linalg.eigh(covariance)
    kept = eigenvalues > least * eigenvalues.max()
    basis = vectors[:, kept] * np.sqrt(eigenvalues[kept])
    scaled: Floats = basis / math.sqrt(float((basis**2).sum()) / len(basis))
    return scaled

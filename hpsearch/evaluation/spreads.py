"""A figure over several models."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hpsearch.analysis.statistics import estimate_mean


@dataclass(frozen=True)
class Spread:
    """A figure over models that differ in their seed only: mean, standard deviation, and the mean's interval.

    `low` to `high` is the 95% interval by Student's t, cut off at the figure's ends. With one model there is neither
    deviation nor interval.
    """

    models: int
    mean: float
    std: float | None
    low: float | None
    high: float | None


def compute_spread(values: Sequence[float], most: float = 1.0) -> Spread:
    """Return mean, standard deviation and interval of at least one value, none of which is below 0 or above `most`."""
    mean = estimate_mean(values)
    assert mean is not None
    if mean.half is None:
        return Spread(1, mean.mean, None, None, None)
    low, high = max(0.0, mean.mean - mean.half), min(most, mean.mean + mean.half)
    return Spread(mean.n, mean.mean, float(np.std(values, ddof=1)), low, high)

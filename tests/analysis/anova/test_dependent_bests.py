"""Which value is best at each level of another hyperparameter, on data whose truth is known."""

import math
from typing import Any

import numpy as np
import pytest

from hpsearch.analysis.anova import functional_anova
from hpsearch.analysis.anova.axes import find_cells, make_axes
from hpsearch.analysis.anova.dependent_bests import DependentBest, find_dependent_bests
from hpsearch.spec import loader
from hpsearch.spec.dimension import Dimension

SPACE: dict[str, Any] = {
    "optimizer": ["sgd", "adam", "rmsprop"],
    "learning_rate": {"low": 1e-5, "high": 1e-1, "log": True},
    "activation": ["relu", "tanh"],
}
BEST = {"sgd": -2.0, "adam": -4.0, "rmsprop": -4.0}


def find(pair: tuple[str, str], noise: float, *, own_rates: bool = True) -> tuple[DependentBest, ...]:
    """Return what is sure of a pair after 120 random trials; sgd with relu and adam with tanh are 0.1 better."""
    random = np.random.default_rng(0)
    space: dict[str, Dimension] = dict(loader.from_dict({"study": {"name": "x"}, "space": SPACE}).space)
    params: list[dict[str, Any]] = [
        {
            "optimizer": str(random.choice(SPACE["optimizer"])),
            "learning_rate": float(10 ** random.uniform(-5, -1)),
            "activation": str(random.choice(SPACE["activation"])),
        }
        for _ in range(120)
    ]
    rates = [BEST[each["optimizer"]] if own_rates else -3.0 for each in params]
    values = np.array(
        [
            -0.05 * (math.log10(each["learning_rate"]) - rate) ** 2
            + 0.1 * ((each["optimizer"], each["activation"]) in {("sgd", "relu"), ("adam", "tanh")})
            + random.normal(0, noise)
            for each, rate in zip(params, rates, strict=True)
        ]
    )
    axes = make_axes(space)
    posterior = functional_anova.fit(axes, find_cells(axes, params), values, -math.inf)
    return find_dependent_bests(posterior.thin(200), [pair])


@pytest.mark.parametrize("pair", [("optimizer", "learning_rate"), ("learning_rate", "optimizer")])
def test_each_optimizers_own_rate_is_found(pair: tuple[str, str]) -> None:
    """The best rate of each optimizer lies in its interval, whichever is named first."""
    (best,) = find(pair, 0.01)
    assert (best.name, best.by) == ("learning_rate", "optimizer")
    assert set(best.values) == set(BEST)
    for optimizer, (_, low, high) in best.values.items():
        assert float(low) / 1.5 <= 10 ** BEST[optimizer] <= float(high) * 1.5  # ends of cells, of a sixteenth each
    assert best.describe().startswith("learning_rate is best near 0.0")
    assert " with optimizer sgd, near " in best.describe()


def test_the_best_choice_is_named_where_it_is_sure() -> None:
    """Of two choices each is best with another optimizer; where both are alike none is named."""
    (best,) = find(("optimizer", "activation"), 0.01)
    assert best.values == {"sgd": ("relu",), "adam": ("tanh",)}
    assert best.describe() == "activation is best relu with optimizer sgd, tanh with adam"


def test_nothing_is_said_where_the_best_value_is_the_same_or_unknown() -> None:
    """Without an interaction, and where noise hides it, no best value depends on anything."""
    assert find(("optimizer", "learning_rate"), 0.01, own_rates=False) == ()
    assert find(("optimizer", "learning_rate"), 1.0) == ()

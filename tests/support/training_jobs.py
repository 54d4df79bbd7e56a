"""Jobs for a trainer on scikit-learn's digits, which a tiny model learns in a second. Imports no framework."""

from collections.abc import Callable, Mapping

from hpsearch.spec.rows import Value
from hpsearch.training.protocol import Train
from hpsearch.training.requests import DataRequest

DIGITS = DataRequest("digits", train_limit=200, validation=100, seed=0)

TINY: Mapping[str, Value] = {
    "filters": 4,
    "dense_units": 16,
    "batch_size": 32,
    "learning_rate": 0.003,
    "optimizer": "adam",
}

MakeJob = Callable[..., Train]
"""Makes a Train of a tiny model: hyperparameters as a mapping, the message's own fields by name."""

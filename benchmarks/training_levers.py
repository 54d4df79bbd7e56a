"""The layers of our own: what each is measured on, and how a trainer does without it."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from unittest import mock

from hpsearch.spec.rows import Value

LEVERS: Mapping[str, Mapping[str, Value]] = {"dropout": {}, "batch norm": {"batch_norm": True}}
"""By name, what the base model needs for a lever to be used."""


@contextmanager
def leave_out(lever: str) -> Iterator[None]:
    """Give our trainer Keras's own layer in the place of ours; batch norm's moving averages stay unbiased."""
    import keras

    from hpsearch.training import backends

    layers = {
        "dropout": ("make_dropout", lambda rate, seed: keras.layers.Dropout(rate, seed=seed)),
        "batch norm": ("make_batch_norm", lambda momentum: backends.UnbiasedBatchNorm(momentum=momentum)),
    }
    with mock.patch.object(backends.current, *layers[lever]):
        yield

"""The levels of searched hyperparameters."""

from typing import Any

import pytest

from hpsearch.analysis import bins
from hpsearch.spec import loader


def label_levels(name: str, entry: Any, tried: list[Any]) -> list[str]:
    """Return the labels of the levels; each value that was tried is in exactly one."""
    dimension = loader.from_dict({"study": {"name": "x"}, "space": {name: entry}}).space[name]
    levels = bins.make_bins(dimension, tried)
    assert [sum(level.contains(value) for level in levels) for value in tried] == [1] * len(tried)
    return [level.label for level in levels]


@pytest.mark.parametrize(
    ("name", "entry", "labels"),
    [
        ("optimizer", ["sgd", "adam"], ["sgd", "adam"]),
        ("batch_norm", [True, False], ["on", "off"]),
        ("learning_rate", [0.1, 1e-5], ["0.1", "1e-5"]),
        ("learning_rate", [0.01234, 0.01233], ["0.01234", "0.01233"]),
        ("dropout", {"low": 0.0, "high": 0.3, "step": 0.1}, ["0", "0.1", "0.2", "0.3"]),
        ("dropout", {"low": 0.0, "high": 0.5}, ["0 to 0.1", "0.1 to 0.2", "0.2 to 0.3", "0.3 to 0.4", "0.4 to 0.5"]),
        ("momentum", {"low": 0.85, "high": 0.99}, ["0.85 to 0.9", "0.9 to 0.95", "0.95 to 0.99"]),
        ("dropout", {"low": 0.12341, "high": 0.12342}, ["0.12341 to 0.123412", "0.123412 to 0.123414"]),
        (
            "learning_rate",
            {"low": 1e-5, "high": 1e-1, "log": True},
            ["1e-5 to 1e-4", "1e-4 to 1e-3", "1e-3 to 1e-2", "1e-2 to 1e-1"],
        ),
        ("learning_rate", {"low": 2e-4, "high": 2e-2, "log": True}, ["2e-4 to 3e-4", "3e-4 to 1e-3", "1e-3 to 3e-3"]),
        ("l2", {"low": 1e-9, "high": 1e-1, "log": True}, ["1e-9 to 1e-7", "1e-7 to 1e-5", "1e-5 to 1e-3"]),
        (
            "batch_size",
            {"low": 16, "high": 256, "log": True},
            ["16 to 19", "20 to 49", "50 to 99", "100 to 199", "200 to 256"],
        ),
        ("filter_size", {"low": 1, "high": 5}, ["1", "2", "3", "4", "5"]),
        ("dense_units", {"low": 64, "high": 512}, ["64 to 199", "200 to 399", "400 to 512"]),
    ],
)
def test_levels_have_round_edges(name: str, entry: Any, labels: list[str]) -> None:
    """Choices and few points are levels as they are; ranges have at most five bins between round numbers."""
    dimension = loader.from_dict({"study": {"name": "x"}, "space": {name: entry}}).space[name]
    if isinstance(entry, list):
        tried: list[Any] = entry
    elif "step" in entry:
        tried = list(dimension.list_points())
    else:
        low, high = entry["low"], entry["high"]
        tried = [
            low * (high / low) ** (i / 200) if entry.get("log") else low + (high - low) * i / 200 for i in range(201)
        ]
        tried = [min(high, int(value) if isinstance(low, int) else value) for value in tried]
    levels = label_levels(name, entry, tried)
    assert levels[: len(labels)] == labels
    assert len(levels) <= max(bins.MAX_BINS, len(labels))


def test_bins_of_few_trials_are_joined() -> None:
    """A bin with fewer than four trials goes to the emptier neighbour; without trials one bin is left."""
    rate = {"low": 1e-5, "high": 1e-1, "log": True}
    assert label_levels("learning_rate", rate, [2e-5] * 5 + [2e-4] * 3 + [2e-3] * 9 + [1e-1] * 4) == [
        "1e-5 to 1e-3",
        "1e-3 to 1e-2",
        "1e-2 to 1e-1",
    ]
    assert label_levels("learning_rate", rate, []) == ["1e-5 to 1e-1"]

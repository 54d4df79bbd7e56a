"""scores.py: the result of an evaluation as it is stored."""

import json

import pytest

from hpsearch.evaluation.scores import EvaluationResult

SCORE = (
    '{"accuracy": 0.75, "low": 0.5, "high": 0.9, "confusion": [[2, 1], [0, 1]], "classes": '
    '[{"name": "a", "precision": 1.0, "recall": 0.6666666666666666, "f1": 0.8, "images": 3}, '
    '{"name": "b", "precision": 0.5, "recall": 1.0, "f1": 0.6666666666666666, "images": 1}]}'
)
SPREAD = '{"models": 2, "mean": 0.75, "std": 0.1, "low": 0.0, "high": 1.0}'
SINGLE = '{"models": 1, "mean": 0.75, "std": null, "low": null, "high": null}'
STORED = (
    '{"trials": 4, "models": 2, "epochs": 3, "images": 4, "classes": ["a", "b"], "configurations": ['
    '{"trial": 7, "value": 0.7, "params": {"learning_rate": 0.01, "batch_norm": true, "batch_size": 32}, '
    '"models": [{"trial": 0, "accuracy": 0.75, "low": 0.5, "high": 0.9}], '
    '"missing": [{"trial": 1, "outcome": "diverged"}], '
    f'"accuracy": {SPREAD}, "classes": [{{"name": "a", "precision": {SINGLE}, "recall": {SPREAD}, "f1": {SPREAD}, '
    f'"images": 3}}], "confusion": [[2, 1], [0, 1]], "ensemble": {SCORE}}}, '
    '{"trial": 8, "value": 0.6, "params": {}, "models": [], "missing": [], "accuracy": null, "classes": null, '
    f'"confusion": null, "ensemble": null}}], "ensemble": {SCORE}}}'
)
"""As hpsearch 0.1.0 wrote it before it had `EvaluationResult`."""


def test_stored_result_is_read_and_written_byte_by_byte() -> None:
    """An older result is read, and comes out as it was stored."""
    result = EvaluationResult.from_json(json.loads(STORED))
    assert json.dumps(result.to_json()) == STORED
    assert result.configurations[0].params["batch_norm"] is True
    assert result.configurations[1].accuracy is None
    assert result.ensemble.confusion == ((2, 1), (0, 1))


@pytest.mark.parametrize("key", ["trials", "ensemble"])
def test_what_is_no_result_is_refused(key: str) -> None:
    """A stored object without one of the fields is an error, and one with more is not."""
    stored = json.loads(STORED)
    assert EvaluationResult.from_json({**stored, "more": 1}).to_json() == stored
    del stored[key]
    with pytest.raises(ValueError, match=key):
        EvaluationResult.from_json(stored)

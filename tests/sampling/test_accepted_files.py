"""What the loader accepts can be sampled: random study files, extreme ones among them, and every sampler."""

import math
import random
from datetime import datetime
from typing import Any

import pytest
from optuna.trial import FrozenTrial, TrialState

from hpsearch.errors import StudyFileError
from hpsearch.metrics import Direction
from hpsearch.sampling import suggest
from hpsearch.sampling.readonly_storage import ReadOnlyStorage
from hpsearch.spec import loader
from hpsearch.spec.code import archive
from hpsearch.spec.dimension import Choices, Dimension
from hpsearch.spec.study_spec import StudySpec
from tests.support.study_files import OWN_CODE

FILES = {"tpe": 40, "random": 150, "grid": 50, "qmc": 80, "cmaes": 40}
"""Files that are accepted, by sampler: as many as take about a second. gp needs torch, which the tests lack."""

FINISHED = 3
"""Trials that the sampler can learn from."""

LEARNING = {"tpe": {"n_startup_trials": 1}, "cmaes": {"n_startup_trials": 1}}


def draw_number(rng: random.Random) -> float | int:
    """A number of any size, and often one at which arithmetic goes wrong."""
    kind = rng.randrange(6)
    if kind == 0:
        return rng.choice([0, 0.0, 1, 1.0, -1, 5e-324, 2.2e-308, 1e308, -1e308, 2**53, 2**53 + 1, 2**63 - 1, -(2**63)])
    if kind == 1:
        return rng.randint(-10, 10)
    if kind == 2:
        return rng.randint(-(2**63), 2**63 - 1) >> rng.randrange(64)
    if kind == 3:
        return rng.choice([-1, 1]) * 10 ** rng.uniform(-320, 308)
    return round(10 ** rng.uniform(-6, 3), rng.randrange(8))


def draw_dimension(rng: random.Random, *, grid: bool) -> Any:
    """A list or a range of numbers; of a range the step is often tiny beside it, or a whole part of it."""
    if rng.random() < 0.3:
        return list({draw_number(rng) for _ in range(rng.randint(1, 4))})
    low = draw_number(rng)
    close = math.nextafter(low, math.inf) if isinstance(low, float) else low + 1
    high = rng.choice([draw_number(rng), close, low + abs(low), low + 10 ** rng.randint(-15, 3)])
    whole = isinstance(low, int) and isinstance(high, int)
    if grid or rng.random() < 0.5:
        span = abs(high - low)
        parts = 10 ** rng.randrange(1, 20) * rng.choice([1, 2, 3])
        step = max(1, span // parts) if whole else rng.choice([span / parts, span, 10.0 ** rng.randint(-20, 3)])
        high = low + step * min(parts, rng.choice([1, 3, 50, 1000])) if grid else high
        return {"low": low, "high": high, "step": step}
    return {"low": low, "high": high, "log": rng.random() < 0.5}


def draw_file(rng: random.Random, sampler: str) -> dict[str, Any]:
    """A study file; its hyperparameters are a model's of the user, which have no bounds of ours."""
    space: dict[str, Any] = {"parent": ["a", "b"]} if rng.random() < 0.3 else {}
    for number in range(rng.randint(1, 3)):
        drawn = draw_dimension(rng, grid=sampler == "grid")
        if space.get("parent") and isinstance(drawn, dict) and rng.random() < 0.5:
            drawn["when"] = {"parent": ["a"]}
        space[f"own {number}"] = drawn
    return {
        "study": {"name": "x"},
        "model": {"build": "my_model.py:build"},
        "space": space,
        "sampler": {"name": sampler, **LEARNING.get(sampler, {})},
    }


def add_trial(storage: ReadOnlyStorage, number: int, point: dict[str, Any]) -> None:
    now = datetime.now()
    trial = FrozenTrial(
        number, TrialState.RUNNING, None, now, None, {}, {}, {}, {"fixed_params": point} if point else {}, {}, number
    )
    storage._trials[number] = storage._unfinished[number] = trial


def finish(storage: ReadOnlyStorage, spec: StudySpec, number: int, params: dict[str, Any]) -> None:
    trial = storage._unfinished.pop(number)
    trial.params, trial.state, trial.values = dict(params), TrialState.COMPLETE, [number / 10]
    trial.datetime_complete = trial.datetime_start
    trial.distributions = {name: suggest.make_distribution(spec.space[name]) for name in params}
    storage._finished[TrialState.COMPLETE].append(trial)


def is_of(dimension: Dimension, value: Any) -> bool:
    """Whether the value is one of the dimension's, but for the last digits of a multiple of its step."""
    if isinstance(dimension, Choices) or not dimension.step:
        return dimension.contains(value)
    steps = (value - dimension.low) / dimension.step
    return dimension.low <= value <= dimension.high and math.isclose(steps, round(steps), abs_tol=1e-6)


def sample(spec: StudySpec) -> None:
    """Suggest some trials, each from those before it; every value is one of its dimension."""
    storage = ReadOnlyStorage(1, Direction.MAXIMIZE)
    points = spec.list_grid()[-FINISHED:] if spec.sampler.name == "grid" else [{}] * FINISHED
    for number, point in enumerate(points):
        add_trial(storage, number, dict(point))
        params, writes = suggest.suggest(spec, storage, number, number)
        assert set(writes.parameters) == set(params)
        for name, value in params.items():
            assert is_of(spec.space[name], value), (name, value, spec.space[name])
            inner, distribution = writes.parameters[name]
            assert distribution._contains(inner), (name, inner, distribution)
        assert not point or params == point
        finish(storage, spec, number, params)


@pytest.mark.parametrize("sampler", FILES)
def test_accepted_file_is_sampled(sampler: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever numbers a file has: it is refused in a line, or the sampler suggests trials of its space."""
    packed = archive.pack({"model.build": "my_model.py:build"}, OWN_CODE)
    monkeypatch.setattr(archive, "pack", lambda *_: packed)  # once, not for every file
    rng = random.Random(sampler)
    accepted = refused = 0
    while accepted < FILES[sampler]:
        file = draw_file(rng, sampler)
        try:
            spec = loader.from_dict(file, directory=OWN_CODE)
        except StudyFileError:
            refused += 1
            assert refused < 100 * FILES[sampler], "nothing is accepted"
            continue
        accepted += 1
        try:
            sample(spec)
        except Exception as error:
            error.add_note(f"{file}")
            raise
    assert refused

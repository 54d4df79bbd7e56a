"""What a spec means, its fingerprint, and its form in the database."""

import dataclasses
import importlib.util
import json
import pickle
from typing import Any

import pytest

from hpsearch.spec import loader, own_rows
from hpsearch.spec.dimension import Range
from hpsearch.spec.hyperparameters import BASE_TABLE, HyperparameterTable
from hpsearch.spec.rows import Hyperparameter, Value
from hpsearch.spec.sections.data import DataSection
from hpsearch.spec.sections.study import BudgetSection
from hpsearch.spec.study_spec import StudySpec
from tests.support.study_files import FIVE, GRID, MOMENTUM, read


def test_a_name_is_all_that_is_needed() -> None:
    """A file with a name alone trains the base model once, with the documented defaults."""
    plain = read("")
    assert plain.budget == BudgetSection(trials=1)
    assert plain.data == DataSection(name="cifar10", validation=5000)
    assert (plain.sampler.name, plain.pruner.name, plain.direction) == ("tpe", "asha", "maximize")
    assert plain.resolve_params({}) == plain.list_unsearched() == BASE_TABLE.fill_defaults({})


def test_what_is_inactive_trains_with_its_default() -> None:
    """A trial's table has what it sampled, what the file fixed, and defaults for the rest and the inactive."""
    study = read("[fixed]\nbatch_size = 64\n" + FIVE + MOMENTUM)
    sampled: dict[str, Value] = {
        "learning_rate": 0.1,
        "optimizer": "adam",
        "activation": "elu",
        "dropout": 0.5,
        "batch_norm": True,
    }
    assert study.resolve_params(sampled) == BASE_TABLE.fill_defaults({**sampled, "batch_size": 64})
    assert study.resolve_params({**sampled, "momentum": 0.6})["momentum"] == 0.9


def test_the_rest_of_the_table_is_what_is_not_searched() -> None:
    """fixed_values has every row but the searched, and nothing for one that follows a searched one."""
    rest = read("[fixed]\nl2 = 1\n" + FIVE).list_unsearched()
    assert rest.keys() == BASE_TABLE.keys() - set(read(FIVE).space)
    assert rest["dense_dropout"] is None
    assert rest["l2"] == 1.0
    assert read("[fixed]\ndense_dropout = 0.5\n" + FIVE).list_unsearched()["dense_dropout"] == 0.5


def test_a_spec_is_frozen() -> None:
    """What a worker was given does not change under it."""
    study = read("[fixed]\nl2 = 0.1\n" + FIVE)
    with pytest.raises(dataclasses.FrozenInstanceError):
        study.fixed = {}  # type: ignore[misc]
    with pytest.raises(TypeError):
        study.fixed["l2"] = 0.2  # type: ignore[index]
    with pytest.raises(ValueError, match="frozen"):
        study.budget.trials = 3  # type: ignore[misc]


@pytest.mark.parametrize(
    "overrides",
    [
        ["fixed.l1=0"],
        ["fixed.momentum=0.9", "fixed.batch_size=32"],
        ["space.dropout.low=0"],
        ["space.dropout={high = 0.5, low = 0}"],
        ["space.batch_norm=[false, true]"],
        ["data.train_limit=45000"],
        ["data.validation=5000", "data.name=cifar10"],
        ["study.name=other", "study.description=d", "study.priority=3", "study.keep_models=0"],
        ["budget.trials=3", "budget.hours=1", "budget.target=0.5", "budget.patience=9", "budget.early_stopping=2"],
        ["sampler.name=random", "pruner.name=none", "baseline=[{}]"],
    ],
)
def test_what_means_the_same_has_the_same_fingerprint(overrides: list[str]) -> None:
    """Spelling, defaults written out, and what trials do not depend on make no difference."""
    assert read(FIVE, *overrides).fingerprint == read(FIVE).fingerprint
    assert read(FIVE).list_differences(read(FIVE, *overrides)) == []


def test_the_order_of_the_file_makes_no_difference() -> None:
    """Keys may be moved about."""
    lines = FIVE.strip().splitlines()
    assert read("\n".join([lines[0], *reversed(lines[1:])])).fingerprint == read(FIVE).fingerprint


@pytest.mark.parametrize(
    ("overrides", "differences"),
    [
        (["study.seed=1"], ["study.seed: 0 in the database, 1 in the file"]),
        (["study.metric=val_loss"], ["study.metric: 'val_accuracy' in the database, 'val_loss' in the file"]),
        (["budget.epochs=8"], ["budget.epochs: 30 in the database, 8 in the file"]),
        (["data.train_limit=5000"], ["data.train_limit: absent in the database, 5000 in the file"]),
        (["fixed.batch_size=64"], ["fixed.batch_size: 32 (the default) in the database, 64 in the file"]),
        (["space.learning_rate.low=1e-4"], ["space.learning_rate.low: 1e-05 in the database, 0.0001 in the file"]),
        (["space.learning_rate.log=false"], ["space.learning_rate.log: true in the database, absent in the file"]),
        (
            ["space.batch_norm=[true]"],
            ["space.batch_norm.choices: [false, true] in the database, [true] in the file"],
        ),
        (["space.l1=[0, 1]"], ["space.l1: not searched in the database, [0.0, 1.0] in the file"]),
        (
            ["fixed.dense_dropout=0.25"],
            ["fixed.dense_dropout: as dropout in the database, 0.25 in the file"],
        ),
    ],
)
def test_what_means_something_else_is_told_key_by_key(overrides: list[str], differences: list[str]) -> None:
    """Another meaning is another fingerprint, and differences says where."""
    stored, file = read(FIVE), read(FIVE, *overrides)
    assert stored.fingerprint != file.fingerprint
    assert stored.list_differences(file) == differences


def test_a_new_row_of_the_table_changes_no_fingerprint(monkeypatch: pytest.MonkeyPatch) -> None:
    """Studies stay what they are when the service learns another hyperparameter."""
    before = read("[fixed]\nl1 = 0.1\n" + FIVE).fingerprint
    row = Hyperparameter("kernel_constraint", float, 0.5, "New.", 0.0, 1.0)
    table = HyperparameterTable([*BASE_TABLE.rows, row])
    monkeypatch.setattr(own_rows, "make_model_table", lambda model: table)
    study = read("[fixed]\nl1 = 0.1\n" + FIVE)
    assert "kernel_constraint" in study.resolve_params({})
    assert study.fingerprint == before


def test_the_default_study_keeps_its_fingerprint() -> None:
    """Stored studies are found again by later versions: this changes only with the default study's meaning."""
    assert loader.load(None).fingerprint == "b9b5043c5f71f452da43193748290e8d65dabb57237de4330f1ebdaa4f9d1702"


STUDIES = (
    "",
    FIVE + MOMENTUM + "[[baseline]]\n[[baseline]]\noptimizer = 'adam'\n",
    "[fixed]\nl1 = 1\n[space]\nbatch_size = { low = 8, high = 64, step = 8 }\nl2 = [0, 1]\n" + GRID,
    "[pruner]\nname = 'asha'\n[sampler]\nname = 'cmaes'\npopsize = 6\n",
)


@pytest.mark.parametrize("text", STUDIES)
def test_a_spec_survives_the_database(text: str) -> None:
    """What to_json wrote reads back equal, order of the space included, though Postgres sorts keys."""
    study = read(text)
    stored = json.loads(json.dumps(study.to_json(), sort_keys=True))
    back = StudySpec.from_json(stored)
    assert back == study
    assert list(back.space) == list(study.space)
    assert (back.fingerprint, back.searched) == (study.fingerprint, study.searched)
    assert study.sampler.name != "grid" or back.list_grid() == study.list_grid()


@pytest.mark.parametrize("text", STUDIES)
def test_a_spec_can_be_handed_to_another_process(text: str) -> None:
    """A spec pickles."""
    assert pickle.loads(pickle.dumps(read(text))) == read(text)


def test_what_an_older_version_stored_still_reads() -> None:
    """Absent keys take their defaults; a newer version's key that is not set is passed over."""
    stored = {
        "study": {"name": "old", "colour": None},
        "budget": {"trials": 7},
        "space": [{"name": "dropout", "low": 0, "high": 1e-1}, {"name": "augment", "choices": [True, False]}],
        "sampler": {"name": "qmc"},
    }
    study = StudySpec.from_json(stored)
    assert (study.study.name, study.budget.trials, study.budget.epochs) == ("old", 7, 30)
    assert study.space["dropout"] == Range(0.0, 0.1)
    assert dict(study.sampler.options) == {"qmc_type": "sobol", "scramble": False}
    assert (study.pruner, study.baselines) == (read("").pruner, ())


@pytest.mark.parametrize(
    "change",
    [
        {"study": {"name": "new", "colour": "blue"}},
        {"budget": {"trials": 7, "rungs": [1, 3]}},
        {"seeds": {"count": 3}},
        {"sampler": {"name": "tpe", "options": {"seed_trials": 3}}},
        {"sampler": {"name": "tpe", "weights": "ours"}},
        {"space": [{"name": "dropout", "low": 0.0, "high": 0.1, "prior": "normal"}]},
        {"space": [{"name": "dropout", "low": 0.0, "high": 1.5}]},
        {"space": [{"name": "momentum", "low": 0.5, "high": 0.9, "when": {"optimizer": ["momentum"]}}]},
        {"fixed": {"dropout": "some"}},
        {"baselines": [{"dropout": 7.0}]},
        {"model": {"name": "transformer"}},
    ],
)
def test_what_a_newer_version_stored_is_refused(change: dict[str, Any]) -> None:
    """A key, name or value that this version does not know is not dropped: it would train something else."""
    with pytest.raises((ValueError, KeyError)):
        StudySpec.from_json({"study": {"name": "new"}, **change})


def test_a_stored_spec_reads_where_a_package_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Status and results of a study need none of what its sampler needs."""
    stored = read("[sampler]\nname = 'cmaes'\n").to_json()
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert StudySpec.from_json(stored).sampler.name == "cmaes"

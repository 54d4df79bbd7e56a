"""What an ablation trains."""

import json
from collections.abc import Sequence
from typing import Any

import pytest

from hpsearch.analysis.ablations import design as ablation_design
from hpsearch.analysis.ablations.design import AblationDesign, Params
from hpsearch.spec import loader
from hpsearch.spec.rows import Value
from hpsearch.spec.study_spec import StudySpec

BEST: dict[str, Value] = {"learning_rate": 0.002, "optimizer": "adam", "dropout": 0.2}


def make_spec(**sections: Any) -> StudySpec:
    described = {
        "study": {"name": "small"},
        "data": {"name": "digits"},
        "space": {
            "learning_rate": {"low": 1e-4, "high": 1e-1, "log": True},
            "optimizer": ["sgd", "momentum", "adam"],
            "momentum": {"low": 0.5, "high": 0.99, "when": {"optimizer": ["momentum"]}},
            "dropout": {"low": 0.0, "high": 0.6},
        },
        "baseline": [{"learning_rate": 0.01, "optimizer": "sgd", "dropout": 0.2}],
        **sections,
    }
    return loader.from_dict(described)


def list_tried(design: AblationDesign, name: str) -> list[Any]:
    return [level.value for level in design.levels if level.name == name]


def test_each_level_differs_in_one_hyperparameter() -> None:
    """Every other choice, and for a range three values spread on its scale, the base's among them."""
    design = ablation_design.make_design(make_spec(), 7, BEST, 3)
    assert list_tried(design, "optimizer") == ["sgd", "momentum"]
    assert list_tried(design, "learning_rate") == pytest.approx([0.00024, 0.01, 0.042])
    assert list_tried(design, "dropout") == [0.0, 0.4, 0.6]
    for level in design.levels:
        params = design.configurations[level.configuration]
        assert {name for name in params if params[name] != BEST.get(name)} <= {level.name, "momentum"}


def test_a_choice_brings_the_values_it_needs() -> None:
    """What is searched only with a choice takes its default there, and goes where the best configuration's goes."""
    spec = make_spec()
    design = ablation_design.make_design(spec, 7, BEST, 3)
    (momentum,) = (level for level in design.levels if level.value == "momentum")
    assert design.configurations[momentum.configuration]["momentum"] == 0.9
    best: Params = {**BEST, "optimizer": "momentum", "momentum": 0.6}
    turned = ablation_design.make_design(spec, 7, best, 3)
    adam = next(level for level in turned.levels if level.value == "adam")
    assert "momentum" not in turned.configurations[adam.configuration]
    assert list_tried(turned, "momentum") == pytest.approx([0.5, 0.83, 0.99])


def test_path_leads_from_the_base_to_the_best() -> None:
    """One change at a time, the one of which most is expected first; its last step is a level of the ablation."""
    spec = make_spec()

    def predict(params: Sequence[Params]) -> list[float]:
        return [float(each["optimizer"] == "adam") for each in params]

    design = ablation_design.make_design(spec, 7, BEST, 3, predict=predict)
    assert design.base is not None
    assert design.configurations[design.base] == {"learning_rate": 0.01, "optimizer": "sgd", "dropout": 0.2}
    assert [step.name for step in design.path] == ["optimizer", "learning_rate"]
    assert design.path[-1].configuration == 0
    assert design.path[0].configuration in {level.configuration for level in design.levels}


def test_base_that_is_best_has_no_path() -> None:
    """Then there is nothing to change."""
    spec = make_spec()
    design = ablation_design.make_design(spec, 0, dict(spec.baselines[0]), 3)
    assert (design.base, design.path) == (None, ())


def test_named_levels_replace_the_rest() -> None:
    """Only they are tried, without a path; a value that the best one has is none."""
    design = ablation_design.make_design(make_spec(), 7, BEST, 3, {"dropout": [0.0, 0.2, 0.0]})
    assert [(level.name, level.value) for level in design.levels] == [("dropout", 0.0)]
    assert len(design.configurations) == 2
    assert design.base is None


def test_steps_and_whole_numbers_are_kept() -> None:
    """A value is one that the space has; of few values all are tried."""
    spec = make_spec(
        space={
            "dropout": {"low": 0.0, "high": 0.5, "step": 0.1},
            "filters": {"low": 8, "high": 64, "log": True},
            "dense_units": {"low": 16, "high": 18},
        },
        baseline=[],
    )
    design = ablation_design.make_design(spec, 0, {"dropout": 0.1, "filters": 20, "dense_units": 17}, 2)
    for level in design.levels:
        assert spec.space[level.name].contains(level.value), level
    assert list_tried(design, "dense_units") == [16, 18]
    assert all(isinstance(value, int) for value in list_tried(design, "filters"))


def test_seeds_go_round_all_configurations() -> None:
    """Each has one training before any has two, and the best one two in each round."""
    design = ablation_design.make_design(make_spec(), 7, BEST, 3, {"dropout": [0.0, 0.5]})
    assert design.schedule == (0, 0, 1, 2) * 3
    assert design.round_size == 4


def test_design_survives_json() -> None:
    """The types come back, also of numbers that JSON writes alike."""
    spec = make_spec()
    design = ablation_design.make_design(spec, 7, {**BEST, "dropout": 0.0}, 3)
    assert AblationDesign.from_json(spec, json.loads(json.dumps(design.to_json()))) == design

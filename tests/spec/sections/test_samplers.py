"""[sampler]: options, defaults and what Optuna would refuse."""

import importlib.util

import pytest

from tests.support.study_files import FIVE, MOMENTUM, list_faults, read


def test_tpe_groups_conditional_spaces() -> None:
    """TPE models conditional hyperparameters in groups, unless it is told otherwise."""
    assert read(FIVE).sampler.options["group"] is False
    assert read(FIVE + MOMENTUM).sampler.options["group"] is True
    assert read(FIVE + MOMENTUM, "sampler.group=false").sampler.options["group"] is False
    assert read(FIVE + MOMENTUM, "sampler.multivariate=false").sampler.options["group"] is False


@pytest.mark.parametrize(
    ("overrides", "fault"),
    [
        (["sampler.name=tpee"], "sampler.name: 'tpee' is unknown: did you mean tpe?"),
        (["sampler.name=3"], "sampler.name: 3 is unknown: one of tpe, random, grid, qmc, cmaes, gp"),
        (["sampler.n_startup=3"], "sampler.n_startup: unknown: did you mean n_startup_trials?"),
        (["sampler.name=random", "sampler.seed=3"], "sampler.seed: unknown: nothing can be set here"),
        (["sampler.n_startup_trials=-1"], "sampler.n_startup_trials: -1 is out of bounds: 0 or more"),
        (["sampler.n_ei_candidates=0"], "sampler.n_ei_candidates: 0 is out of bounds: 1 or more"),
        (
            ["sampler.constant_liar=1"],
            "sampler.constant_liar: 1 is not true or false: keep away from what other workers are trying",
        ),
        (
            ["sampler.group=true", "sampler.multivariate=false"],
            "sampler.group: needs multivariate = true: set that or drop group",
        ),
        (
            ["sampler.name=qmc", "sampler.qmc_type=sobl"],
            "sampler.qmc_type: 'sobl' is unknown: one of 'sobol' or 'halton'",
        ),
        (["sampler.name=cmaes", "sampler.popsize=1"], "sampler.popsize: 1 is out of bounds: 2 or more"),
        (
            ["sampler.name=cmaes", "sampler.lr_adapt=true", "sampler.with_margin=true"],
            "sampler.with_margin: cannot go with lr_adapt: keep one of lr_adapt, with_margin",
        ),
    ],
)
def test_a_misspelt_or_impossible_sampler(overrides: list[str], fault: str) -> None:
    """Samplers and their options are named, typed and combined as Optuna takes them."""
    assert list_faults(FIVE, *overrides) == [fault]


def test_a_sampler_says_which_package_it_lacks(monkeypatch: pytest.MonkeyPatch) -> None:
    """The fault of a sampler that needs more names all of it, before any worker fails on it."""
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert list_faults(FIVE, "sampler.name=gp") == [
        "sampler.name: gp needs the packages torch and scipy: pip install torch scipy"
    ]
    assert list_faults(FIVE, "sampler.name=cmaes") == ["sampler.name: cmaes needs the package cmaes: pip install cmaes"]


@pytest.mark.parametrize("name", ["tpe", "qmc", "cmaes"])
def test_the_samplers_defaults_are_optunas(name: str) -> None:
    """An option left out means what it means in Optuna 5."""
    samplers = pytest.importorskip("optuna").samplers
    sampler = {"tpe": samplers.TPESampler, "qmc": samplers.QMCSampler, "cmaes": samplers.CmaEsSampler}[name]()
    for option, value in read("", f"sampler.name={name}").sampler.options.items():
        theirs = getattr(sampler, f"_{option}")
        assert value == (True if option == "multivariate" and theirs is None else theirs)

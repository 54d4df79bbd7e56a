"""[pruner]: options, defaults and where a pruner compares trials."""

import pytest

from tests.support.study_files import FIVE, GRID, list_faults, read


@pytest.mark.parametrize(
    ("epochs", "rungs"), [(1, []), (4, [1, 3]), (8, [1, 3]), (9, [1, 3]), (30, [2, 6, 18]), (100, [4, 12, 36])]
)
def test_the_default_pruner_has_rungs_that_suit_the_epochs(epochs: int, rungs: list[int]) -> None:
    """Three at most, and none shortly before the last epoch."""
    pruner = read("", f"budget.epochs={epochs}").pruner
    assert pruner.name == "asha"
    every = [pruner.options["min_resource"] * pruner.options["reduction_factor"] ** rung for rung in range(9)]
    assert [rung for rung in every if rung < epochs] == rungs
    assert (pruner.options["bootstrap_count"], pruner.options["min_early_stopping_rate"]) == (0, 0)


def test_a_pruner_that_is_named_has_its_own_options() -> None:
    """The default's are for studies that name none, and a single one may be changed."""
    assert read("", "pruner.name=median").pruner.options["n_startup_trials"] == 5
    assert read("", "pruner.name=asha").pruner.options["reduction_factor"] == 4
    assert read("", "pruner.reduction_factor=2").pruner.options["reduction_factor"] == 2


def test_a_grid_is_not_pruned_unless_it_asks() -> None:
    """All points of a grid are there to be compared at full length."""
    grid = "[space]\nbatch_norm = [true, false]\n" + GRID
    assert read(grid).pruner.name == "none"
    assert read(grid, "pruner.name=median").pruner.name == "median"


@pytest.mark.parametrize(
    ("name", "given"), [("median", {}), ("percentile", {"percentile": 60.0}), ("hyperband", {}), ("asha", {})]
)
def test_the_pruners_defaults_are_optunas(name: str, given: dict[str, object]) -> None:
    """An option left out means what it means in Optuna 5; only ASHA's resource is a number, not a guess."""
    pruners = pytest.importorskip("optuna").pruners
    kinds = {
        "median": pruners.MedianPruner,
        "percentile": pruners.PercentilePruner,
        "hyperband": pruners.HyperbandPruner,
        "asha": pruners.SuccessiveHalvingPruner,
    }
    pruner = kinds[name](**given)
    options = read("", f"pruner.name={name}", *(f"pruner.{key}={value}" for key, value in given.items())).pruner.options
    for option, value in options.items():
        assert value == (1 if (name, option) == ("asha", "min_resource") else getattr(pruner, f"_{option}"))


@pytest.mark.parametrize(
    ("overrides", "fault"),
    [
        (["pruner.name=medain"], "pruner.name: 'medain' is unknown: did you mean median?"),
        (
            ["pruner.name=percentile"],
            "pruner.percentile: missing: percent of the trials to keep at each look, such as 60.0",
        ),
        (
            ["pruner.name=percentile", "pruner.percentile=101"],
            "pruner.percentile: 101 is out of bounds: 100 or less",
        ),
        (
            ["pruner.name=asha", "pruner.min_resource='auto'"],
            "pruner.min_resource: 'auto' is not a whole number: epochs before the first rung",
        ),
        (
            ["pruner.name=asha", "pruner.reduction_factor=1"],
            "pruner.reduction_factor: 1 is out of bounds: 2 or more",
        ),
        (
            ["pruner.name=hyperband", "pruner.n_warmup_steps=1"],
            "pruner.n_warmup_steps: unknown: one of min_resource, reduction_factor, bootstrap_count",
        ),
        (["pruner.name=none", "pruner.percentile=1"], "pruner.percentile: unknown: nothing can be set here"),
    ],
)
def test_a_misspelt_or_impossible_pruner(overrides: list[str], fault: str) -> None:
    """Pruners and their options are named and typed as Optuna takes them."""
    assert list_faults(FIVE, *overrides) == [fault]

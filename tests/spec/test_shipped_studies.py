"""The studies that come with the service."""

import re
import shlex
from pathlib import Path

import pytest

from hpsearch.spec import dimension, loader, study_spec
from hpsearch.spec.hyperparameters import BASE_TABLE
from hpsearch.spec.rows import Value
from tests.support.study_files import OPTIMIZERS

ROOT = Path(__file__).parents[2]
STUDIES = sorted((ROOT / "studies").glob("*.toml"))
FIVE = ["learning_rate", "optimizer", "activation", "dropout", "batch_norm"]

every_study = pytest.mark.parametrize("path", STUDIES, ids=lambda path: path.stem)


@every_study
def test_a_shipped_study_is_named_as_its_file_and_says_what_it_asks(path: Path) -> None:
    """Every file in studies/ is valid, carries its own name, and asks a question in its comments and description."""
    study = loader.load(path).study
    assert study.name == path.stem
    assert study.description.endswith("?")
    assert re.match(r"# .*?\?", path.read_text().replace("\n# ", " "))


@every_study
def test_the_recipe_in_a_shipped_study_works_and_makes_it_smaller(path: Path) -> None:
    """The command in each file's comments, given to its own options, is a smaller study of another name."""
    comments = " ".join(line.removeprefix("#") for line in path.read_text().splitlines() if line.startswith("#"))
    command = comments[comments.index("hpsearch start-study studies") :].replace("\\", "")
    words = shlex.split(command)
    assert words[2] == f"studies/{path.name}"
    options = [(words[i], words[i + 1]) for i in range(3, len(words) - 1) if words[i].startswith("--")]
    sets = [value for option, value in options if option == "--set"]
    given = dict(options)
    whole = loader.load(path)
    small = loader.load(path, sets, given.get("--name"), int(given["--trials"]) if "--trials" in given else None)
    assert small.study.name != whole.study.name

    def images(s: study_spec.StudySpec) -> int:
        return s.budget.trials * s.budget.epochs * (s.data.train_limit or s.data.remaining or 0)

    assert images(small) < images(whole) / 10


def test_the_package_ships_the_default_study() -> None:
    """Without a file, start-study reads what studies/cifar10-cnn.toml says, to the byte."""
    assert loader.DEFAULT.read_bytes() == (ROOT / "studies/cifar10-cnn.toml").read_bytes()
    assert loader.load(None) == loader.load(ROOT / "studies/cifar10-cnn.toml")


def test_the_package_ships_the_quickstart() -> None:
    """The quickstart reads what studies/quickstart.toml says, to the byte."""
    assert loader.QUICKSTART.read_bytes() == (ROOT / "studies/quickstart.toml").read_bytes()


def test_the_default_study_searches_the_five_hyperparameters() -> None:
    """The default study is the search of the five, with the ranges that its issue gives and no more."""
    default = loader.load(None)
    assert list(default.space) == FIVE
    assert default.space["learning_rate"] == dimension.Range(1e-5, 1e-1, log=True)
    assert default.space["dropout"] == dimension.Range(0.0, 0.5)
    assert set(default.space["optimizer"].list_points()) == set(OPTIMIZERS)
    assert set(default.space["activation"].list_points()) == set(BASE_TABLE["activation"].choices)
    assert default.space["batch_norm"] == dimension.Choices((True, False))
    assert (default.budget.trials, default.budget.epochs, default.data.name) == (100, 30, "cifar10")
    assert default.resolve_params(default.baselines[0]) == BASE_TABLE.fill_defaults({})


def test_the_quickstart_searches_the_same_five() -> None:
    """The quickstart is a small form of the default study, and cuts no trial short."""
    quick = loader.load(loader.QUICKSTART)
    assert list(quick.space) == FIVE
    assert quick.pruner.name == "none"
    assert quick.budget.patience > quick.budget.epochs


@pytest.mark.parametrize(
    ("name", "trained"),
    [
        ("learning-rate", [{"learning_rate": rate} for rate in (0.1, 0.01, 0.001, 0.0001, 0.00001)]),
        ("optimizers", [{"optimizer": name} for name in OPTIMIZERS]),
        ("activations", [{"activation": name} for name in BASE_TABLE["activation"].choices]),
        (
            "regularization",
            [
                {"dropout": 0.0, "batch_norm": False, "l1": 0.0, "l2": 0.0},
                {"dropout": 0.25, "batch_norm": False, "l1": 0.0, "l2": 0.0},
                {"dropout": 0.25, "batch_norm": True, "l1": 0.0, "l2": 0.0},
                {"dropout": 0.0, "batch_norm": False, "l1": 1e-5, "l2": 0.0},
                {"dropout": 0.0, "batch_norm": False, "l1": 0.0, "l2": 1e-4},
            ],
        ),
    ],
)
def test_an_experiment_of_the_course_project_trains_exactly_its_configurations(
    name: str, trained: list[dict[str, Value]]
) -> None:
    """Each experiment trains what the course project compared, nothing else differs, three times each, to the end."""
    study = loader.load(ROOT / f"studies/{name}.toml")
    models = [study.resolve_params(point) for point in study.list_grid()]
    expected = [BASE_TABLE.fill_defaults({"dropout": 0.25, **changed}) for changed in trained]
    for model in expected:
        assert models.count(model) == 3
    assert len(models) == 3 * len(expected) == study.budget.trials
    assert study.pruner.name == "none"
    assert study.budget.patience > study.budget.epochs

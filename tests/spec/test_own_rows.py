"""The hyperparameters of a user's own model: typed by what the study file writes."""

import pickle

import pytest

from hpsearch.spec import branches
from hpsearch.spec.dimension import Choices, Range
from hpsearch.spec.study_spec import StudySpec
from tests.support.study_files import list_faults, read

OWN = """
[model]
build = "my_model.py:build"
[fixed]
depth = 3
[space]
width = { low = 16, high = 128, log = true }
rate = { low = 0, high = 0.5 }
block = ["plain", "residual"]
squeeze = { choices = [true, false], when = { block = ["residual"] } }
"""


def test_a_hyperparameter_has_the_type_of_what_is_written() -> None:
    """Whole numbers, numbers, words, true and false; a mixture of both kinds of numbers is numbers."""
    spec = read(OWN)
    kinds = {name: spec.table[name].kind for name in ("depth", "width", "rate", "block", "squeeze")}
    assert kinds == {"depth": int, "width": int, "rate": float, "block": str, "squeeze": bool}
    assert spec.space["width"] == Range(16, 128, True, None, True)
    assert spec.space["rate"] == Range(0.0, 0.5)
    assert spec.space["squeeze"] == Choices((True, False), {"block": ("residual",)})


def test_what_is_inactive_and_has_no_default_is_absent() -> None:
    """A trial's values hold the model's own hyperparameters that it has, and every training row."""
    spec = read(OWN)
    values = spec.resolve_params({"width": 32, "rate": 0.1, "block": "plain"})
    assert "squeeze" not in values
    assert (values["depth"], values["preprocessing"], values["precision"]) == (3, "none", "float32")
    assert "filters" not in values


def test_the_database_gives_back_what_the_file_said() -> None:
    """Types survive JSON and pickling."""
    spec = read(OWN)
    for copy in (StudySpec.from_json(spec.to_json()), pickle.loads(pickle.dumps(spec))):
        assert copy == spec
        assert copy.table.rows == spec.table.rows
        assert copy.fingerprint == spec.fingerprint


def test_a_mixture_of_types_is_refused() -> None:
    """The fault names the entry and what would be right; so does that of a name that nobody could read."""
    model = '[model]\nbuild = "my_model.py:build"\n[space]\n'
    wrong = "is of no one type: write whole numbers, numbers, words, or true and false"
    assert list_faults(model + 'block = [1, "two"]\n') == [f"space.block: {wrong}"]
    assert list_faults(model + "block = [1, true]\n") == [f"space.block: {wrong}"]
    assert list_faults(model + '" " = [1]\n') == ["space. : is no name: up to 512 printable characters"]


def test_a_model_that_gets_the_image_as_it_is_has_no_rows_that_change_it() -> None:
    """With preprocess = false, augmentation and preprocessing are unknown where they are fixed, and off."""
    spec = read('[model]\nbuild = "my_model.py:build"\npreprocess = false\n')
    assert not {"augment", "preprocessing"} & spec.table.keys()


def test_a_baseline_names_what_has_no_default() -> None:
    """A hyperparameter of the user's own has none."""
    assert list_faults(OWN + '[[baseline]]\nwidth = 16\nblock = "plain"\n') == [
        "baseline[0].rate: missing: it has no default, so name a value"
    ]
    assert read(OWN + '[[baseline]]\nwidth = 16\nrate = 0.1\nblock = "plain"\n').baselines


def test_own_choices_are_what_the_branches_differ_in() -> None:
    """Check builds each combination of them that a trial can have."""
    spec = read(OWN)
    assert branches.list_axes(spec) == ("optimizer", "block", "squeeze")
    names = [branch.format_name(branches.list_axes(spec)[1:]) for branch in branches.list_branches(spec)]
    assert names == ["block=plain", "block=residual squeeze=true", "block=residual squeeze=false"]


def test_many_combinations_are_checked_an_axis_at_a_time() -> None:
    """A model with thousands of combinations is built once for each value of each axis."""
    text = '[model]\nbuild = "my_model.py:build"\n[space]\n'
    listed = branches.list_branches(read(text + "".join(f"c{number} = [1, 2, 3, 4]\n" for number in range(6))))
    assert len(listed) == 1 + 6 * 3
    assert all(branch.count_differences(listed[0].values, [f"c{n}" for n in range(6)]) <= 1 for branch in listed)


def test_one_model_and_one_source_of_images() -> None:
    """Two of either are a fault, and so is what is no function."""
    assert list_faults('[model]\nname = "cnn"\nbuild = "my_model.py:build"\n') == [
        "model: name and build are both given: keep one of them"
    ]
    assert list_faults("[model]\nname = 'cnn'\npreprocess = false\n") == [
        "model.preprocess: is for a model of your own: drop it"
    ]
    assert list_faults('[data]\nname = "digits"\npath = "flowers"\n') == [
        "data: name and path are all given: keep one of them"
    ]


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("validation = 1.5", "data.validation: 1.5 is out of bounds: a number of images, 1 or more, or a fraction"),
        ("validation = -1", "data.validation: -1 is out of bounds"),
        ("test = nan", "data.test: nan is out of bounds"),
        ("validation = true", "data.validation: true is no number of images, such as 500"),
        ('test = "half"', "data.test: 'half' is no number of images"),
        ("image_size = 0", "data.image_size: 0 is no size: height and width"),
        ("image_size = [32, 32, 3]", "data.image_size: [32, 32, 3] is no size"),
        ("validation = 0.9\ntest = 0.9", "data.validation, data.test: 1.8 of the images leave none to train on"),
    ],
)
def test_a_mistake_about_own_images_is_one_line(text: str, fault: str) -> None:
    """It names the key as the file has it, and what would be right."""
    (line,) = list_faults(f'[data]\npath = "flowers"\n{text}\n')
    assert line.startswith(fault)

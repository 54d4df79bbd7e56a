"""Reading a study file: its text, what the command line puts over it, and all of its faults at once."""

import os
from pathlib import Path

import pytest

from hpsearch.errors import StudyFileError
from hpsearch.spec import loader
from hpsearch.spec.dimension import Choices, Range
from hpsearch.spec.study_spec import StudySpec
from tests.support.study_files import FIVE, NAMED, list_faults, read


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (None, "no such file: give the path of a study file"),
        ("directory", "is a directory: give the path of a study file in it"),
        (b'[study]\nname = "\xff"', "not UTF-8 at byte 17: save it as UTF-8"),
        (b"[study]\nname = x", "not TOML: Invalid value (at line 2, column 8)"),
        (b"x = " + b"[" * 5000, "nested too deeply: a study file has tables in tables, no deeper"),
        (b"#" * (1 << 20) + b"#", "is longer than 1048576 bytes: give a study file"),
    ],
)
def test_a_file_that_cannot_be_read_is_one_line(tmp_path: Path, content: bytes | str | None, fault: str) -> None:
    """Whatever is wrong with the file itself is said in a line that names it."""
    path = tmp_path / "study.toml"
    if content == "directory":
        path.mkdir()
    elif isinstance(content, bytes):
        path.write_bytes(content)
    with pytest.raises(StudyFileError) as refused:
        loader.load(path)
    assert refused.value.faults == (f"{path}: {fault}",)


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_a_file_without_permission_is_one_line(tmp_path: Path) -> None:
    """A file that the user may not read is named, with the reason."""
    path = tmp_path / "study.toml"
    path.touch(0o000)
    with pytest.raises(StudyFileError, match=r"cannot be read \(Permission denied\)"):
        loader.load(path)


def test_a_device_that_never_ends_is_not_read_to_its_end() -> None:
    """A slip such as /dev/zero is refused instead of filling the memory."""
    with pytest.raises(StudyFileError, match="is longer than"):
        loader.load(Path("/dev/zero"))


def test_an_editors_byte_order_mark_is_passed_over(tmp_path: Path) -> None:
    """A file saved by an editor that marks UTF-8 reads as any other."""
    path = tmp_path / "study.toml"
    path.write_bytes(b"\xef\xbb\xbf" + NAMED.encode())
    assert loader.load(path).study.name == "x"


def test_no_file_is_the_default_study() -> None:
    """Without a path the study shipped in the package is read."""
    assert loader.load(None).study.name == "cifar10-cnn"


def test_faults_stay_on_one_line_each() -> None:
    """A key with line breaks or terminal codes in it cannot break the report."""
    with pytest.raises(StudyFileError) as refused:
        loader.from_toml('"a\\nb\\u001b[31m" = 1\n')
    assert len(str(refused.value).splitlines()) == len(refused.value.faults) == 2
    assert "\x1b" not in str(refused.value)


def test_a_value_is_toml_or_else_a_string() -> None:
    """Numbers, words, lists and tables can all be set, inside tables and whole."""
    study = read(
        FIVE,
        "space.learning_rate.low=1e-4",
        "fixed.batch_size=128",
        "fixed.schedule=cosine",
        'space.optimizer=["adam", "sgd"]',
        "space.dropout={ low = 0, high = 0.4, step = 0.1 }",
        "study.description=a = b",
    )
    assert study.space["learning_rate"] == Range(1e-4, 1e-1, log=True)
    assert dict(study.fixed) == {"batch_size": 128, "schedule": "cosine"}
    assert study.space["optimizer"] == Choices(("adam", "sgd"))
    assert study.space["dropout"] == Range(0.0, 0.4, step=0.1)
    assert study.study.description == "a = b"


def test_name_and_trials_win() -> None:
    """--name and --trials stand over the file and over --set."""
    study = loader.from_toml(NAMED, ["study.name=y", "budget.trials=7"], name="z", trials=9)
    assert (study.study.name, study.budget.trials) == ("z", 9)


def test_a_name_on_the_command_line_is_enough() -> None:
    """A file need not have a name where --name gives one."""
    assert loader.from_toml("", name="z").study.name == "z"


def test_a_value_cannot_smuggle_keys_in() -> None:
    """A line break in a value is part of the value."""
    assert list_faults("", "budget.trials=3\n[fixed]\nl1=1") == [
        "budget.trials: '3\\n[fixed]\\nl1=1' is not a whole number: trials to end, exactly, over all workers; "
        "a grid: its points; an empty [space]: 1"
    ]


@pytest.mark.parametrize(
    ("override", "fault"),
    [
        ("budget.trials", "--set budget.trials: is no override: write key=value, such as budget.trials=20"),
        ("=3", "--set =3: is no override: write key=value, such as budget.trials=20"),
        ("a..b=3", "--set a..b=3: is no override: write key=value, such as budget.trials=20"),
        ("study.name.x=3", "--set study.name.x: study.name is 'x', not a table: set study.name as a whole"),
        ("budget.trails=3", "budget.trails: unknown: did you mean trials?"),
    ],
)
def test_a_bad_override_is_a_fault(override: str, fault: str) -> None:
    """What cannot be set is said as a fault of the file would be."""
    assert list_faults("", override) == [fault]


def test_the_mapping_given_is_left_alone() -> None:
    """A notebook's dict is not changed by overriding it."""
    raw = {"study": {"name": "x"}, "space": {"dropout": (0.1, 0.2)}}
    assert loader.from_dict(raw, ["study.name=y"]).study.name == "y"
    assert raw == {"study": {"name": "x"}, "space": {"dropout": (0.1, 0.2)}}


def test_all_faults_are_told_at_once() -> None:
    """Nobody mends one fault only to be told of the next."""
    lines = list_faults(
        "[budget]\nepochs = 0\n[fixed]\nl1 = -1\n[space]\nl2 = []\n"
        "[sampler]\nname = 'tpee'\n[pruner]\nname = 'x'\n[fixd]"
    )
    assert [fault.split(":")[0] for fault in lines] == [
        "fixd",
        "fixed.l1",
        "space.l2",
        "sampler.name",
        "budget.epochs",
        "pruner.name",
    ]


def test_paths_of_code_count_from_the_study_file(tmp_path: Path) -> None:
    """Wherever the command is given; the spec knows the code by its SHA-256."""
    (tmp_path / "study.toml").write_text(NAMED + '[model]\nbuild = "my_model.py:build"\n')
    (tmp_path / "my_model.py").write_text("def build(hp, input_shape, classes): ...\n")
    spec = loader.load(tmp_path / "study.toml")
    assert spec.code is not None
    assert spec.code.archive is not None
    assert spec.to_json()["code"] == {"sha256": spec.code.sha256, "directory": "."}
    assert StudySpec.from_json(spec.to_json()).code == spec.code


def test_code_that_cannot_be_packed_is_a_fault_of_the_study_file(tmp_path: Path) -> None:
    """One line, which begins with the key."""
    (tmp_path / "study.toml").write_text(NAMED + '[data]\nload = "my_data.py:load"\n')
    (tmp_path / "my_data.py").write_text("def load(:\n")
    with pytest.raises(StudyFileError) as refused:
        loader.load(tmp_path / "study.toml")
    assert refused.value.faults == ("data.load: my_data.py: line 1: invalid syntax",)

"""Study files of any depth and size: refused in lines of 300 characters, and in no time."""

import time

import pytest

from hpsearch.errors import LINE_LENGTH, StudyFileError
from hpsearch.spec.search_space import LARGEST_LIST, LARGEST_SPACE, MOST_STEPS
from tests.support.study_files import list_faults, read

DEEP = ".".join("a" * 1_200)
OWN_MODEL = '[model]\nbuild = "my_model.py:build"\n'
SECONDS = 20.0
"""Which nothing here takes on the slowest machine, and what takes a time quadratic in the size does."""


@pytest.mark.parametrize(
    ("text", "override"),
    [
        (f"{DEEP} = 1", "study.seed=1"),
        (f"[space]\n{DEEP} = 1", "study.seed=1"),
        (f"[{DEEP}]", "study.seed=1"),
        ("[fixed]\nx = " + "[" * 300 + "]" * 300, "study.seed=1"),
        ("[fixed]\nx = " + "{a=" * 100 + "1" + "}" * 100, "study.seed=1"),
        ("", f"{DEEP}=1"),
        ("", f"space.{DEEP}=1"),
        ("", "fixed.x=" + "[" * 300 + "]" * 300),
    ],
)
def test_depth_has_a_limit(text: str, override: str) -> None:
    """What is nested deeper than any study file is one line."""
    (fault,) = list_faults(text, override)
    assert "nested too deeply" in fault


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        (f"[fixed]\noptimizer = {[1] * 60_000}", "is unknown: one of"),
        (f"[fixed]\noptimizer = '{'x' * 100_000}'", "is unknown: one of"),
        (f"[fixed]\n{'x' * 100_000} = 1", "unknown: one of"),
        (f"[space]\noptimizer = {{ choices = ['sgd'], {'x' * 100_000} = 1 }}", "unknown: one of choices, when"),
        (f"metric = '{'x' * 100_000}'", "is unknown: one of"),
        (f"[budget]\ntrials = '{'x' * 100_000}'", "is not a whole number"),
        (f"[fixed]\nx = {[1] * 200_000}", "too many values: at most 100,000"),
        (f"[space]\nl1 = {list(range(50_000))}", f"too many to choose from: at most {LARGEST_LIST:,}"),
        ("[space]\n" + "\n".join(f"a{i} = [1, 2]" for i in range(20_000)), f"at most {LARGEST_SPACE}"),
    ],
    ids=range(9),
)
def test_size_has_a_limit(text: str, fault: str) -> None:
    """A fault of a value of any size is a line that ends with what would be right."""
    began = time.monotonic()
    with pytest.raises(StudyFileError) as refused:
        read(text)
    assert time.monotonic() - began < SECONDS
    assert all(len(line) <= LINE_LENGTH for line in refused.value.faults)
    assert fault in refused.value.faults[0]


@pytest.mark.parametrize(
    ("dimension", "fault"),
    [
        (
            "{ low = 0.001, high = 1.0, step = 0.999e-13 }",
            ".step: 9.99e-14 is too small for low = 0.001 and high = 1.0",
        ),
        ("{ low = 1e9, high = 2e9, step = 0.5 }", ".step: 0.5 is too small for"),
        ("{ low = 0, high = 9000000000000000000 }", ".high: 9000000000000000000 cannot be sampled"),
        ("{ low = 5e-324, high = 1.0, log = true }", ".low: 5e-324 cannot be sampled"),
        ("{ low = -1e308, high = 1e308 }", ".low: -1e+308 cannot be sampled"),
        ("{ low = 1.0, high = 1.0000000000000002 }", ".low: 1.0 is too close to high"),
    ],
)
def test_range_that_no_sampler_can_sample_is_refused(dimension: str, fault: str) -> None:
    """Numbers beyond what samplers compute with are a fault of the file, not of every trial."""
    assert list_faults(OWN_MODEL + f"[space]\nown = {dimension}")[0].startswith(f"space.own{fault}")


def test_smallest_step_is_accepted() -> None:
    """The limit itself is a study."""
    spec = read(OWN_MODEL + f"[space]\nown = {{ low = 0.0, high = 1.0, step = {1 / MOST_STEPS} }}")
    assert spec.space["own"].size == MOST_STEPS + 1


def test_conditions_may_meet_again() -> None:
    """Thirty layers of two hyperparameters, each under both of the layer above, are no exponential work."""
    lines = ["a0 = [1, 2]", "b0 = [1, 2]"]
    for layer in range(1, 30):
        when = f"when = {{ a{layer - 1} = [1], b{layer - 1} = [1] }}"
        lines += [f"{name}{layer} = {{ choices = [1, 2], {when} }}" for name in "ab"]
    spec = read(OWN_MODEL + "[space]\n" + "\n".join(lines))
    ones = dict.fromkeys(spec.space, 1)
    assert spec.is_active("a29", ones)
    assert not spec.is_active("a29", {**ones, "b0": 2})

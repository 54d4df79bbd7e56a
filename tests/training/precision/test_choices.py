"""A host's choice is measured once and kept in the cache directory, whatever becomes of the file."""

import json
import os
import platform
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from hpsearch import settings
from hpsearch.spec.hyperparameters import BASE_TABLE
from hpsearch.training import backends
from hpsearch.training.precision import choices, samples
from hpsearch.training.precision.choices import PrecisionChoice
from hpsearch.training.precision.measurement import Launch, compare
from hpsearch.training.precision.samples import Kind, find_kind
from hpsearch.training.requests import BASE_MODEL, ModelRequest

pytestmark = pytest.mark.tensorflow

POLICIES = ("float32", "mixed_bfloat16")


class Compilations(list[str]):
    """What has been compiled; the steps of bfloat16 take half the seconds, by a clock of their own."""

    now = 0.0

    def __call__(self, kind: Kind, policy: str) -> Launch:
        self.append(policy)
        return lambda: self.spend(0.02 if policy == "float32" else 0.01)

    def spend(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def compilations(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Compilations]:
    """The compilations of a host with a fresh cache directory."""
    compilations = Compilations()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(samples, "compile_sample", compilations)
    monkeypatch.setattr(time, "process_time", lambda: compilations.now)
    monkeypatch.setattr(backends.current, "list_precisions", lambda: POLICIES)
    monkeypatch.setattr(backends.current, "free_memory", lambda: None)
    choices.choose.cache_clear()
    yield compilations
    choices.choose.cache_clear()


def choose_anew(kind: Kind = Kind.CONVOLUTION) -> PrecisionChoice:
    """Choose as the next process does."""
    choices.choose.cache_clear()
    return choices.choose(kind)


def list_files() -> list[Path]:
    """Return the files of choices."""
    return sorted((settings.find_cache_dir() / "precision").iterdir())


def test_it_is_measured_once(compilations: Compilations) -> None:
    """Later processes read what the first has measured; another kind is another measurement."""
    first = choose_anew()
    assert first.policy == "mixed_bfloat16"
    assert compare(first.rounds, "float32", "mixed_bfloat16") == 2
    assert choose_anew() == choices.choose(Kind.CONVOLUTION)
    assert compilations == [*POLICIES]
    assert [file.suffix for file in list_files()] == [".json"]
    choose_anew(Kind.BATCH_NORM)
    assert len(list_files()) == 2


@pytest.mark.parametrize(
    "change",
    [
        lambda patch: patch.setattr(platform, "node", lambda: "another"),
        lambda patch: patch.setattr(choices, "_describe_processor", lambda: "another"),
        lambda patch: patch.setattr(backends, "read_version", lambda: "99"),
        lambda patch: patch.setattr(os, "sched_getaffinity", lambda process: {0, 1, 2, 3, 4, 5, 6}),
        lambda patch: patch.setenv("OMP_NUM_THREADS", "13"),
        lambda patch: patch.setenv("ONEDNN_MAX_CPU_ISA", "AVX2"),
        lambda patch: patch.setattr(samples, "VERSION", 99),
    ],
    ids=["host", "processor", "version", "cores", "threads", "instructions", "samples"],
)
def test_what_it_depends_on_is_measured_anew(
    compilations: Compilations, monkeypatch: pytest.MonkeyPatch, change: object
) -> None:
    """On hosts that share a home directory each has its own."""
    choose_anew()
    change(monkeypatch)  # type: ignore[operator]
    choose_anew()
    assert len(compilations) == 4
    assert len(list_files()) == 2


DAMAGES: Mapping[str, Callable[[str], str]] = {
    "empty": lambda text: "",
    "cut": lambda text: text[: len(text) // 2],
    "no object": lambda text: "[1, 2]",
    "deep": lambda text: "[" * 100_000,
    "of another host": lambda text: json.dumps({**json.loads(text), "host": "another"}),
    "no rounds": lambda text: json.dumps({**json.loads(text), "rounds": {}}),
    "empty rounds": lambda text: json.dumps({**json.loads(text), "rounds": {policy: [] for policy in POLICIES}}),
    "uneven": lambda text: json.dumps({**json.loads(text), "rounds": dict(zip(POLICIES, ([1], [1, 2]), strict=True))}),
    "endless": lambda text: " " * 2**17 + text,
    "a huge number": lambda text: text.replace("0.0", f"{10**400}, 0.0", 1),
    "no times": lambda text: text.replace("0.0", "NaN, 0.0"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_file_is_measured_anew(compilations: Compilations, damage: str) -> None:
    """And replaced."""
    chosen = choose_anew()
    (file,) = list_files()
    whole = file.read_text()
    file.write_text(DAMAGES[damage](whole))
    assert choose_anew().policy == chosen.policy
    assert len(compilations) == 4
    assert json.loads(file.read_text()).keys() == json.loads(whole).keys()
    assert len(list_files()) == 1


def test_a_cache_that_cannot_be_written_is_no_fault(compilations: Compilations, tmp_path: Path) -> None:
    """The choice is the same, and the next process measures again."""
    (tmp_path / "cache").write_text("in the way")
    assert [choose_anew().policy for _ in range(2)] == ["mixed_bfloat16"] * 2
    assert len(compilations) == 4


def test_what_is_cut_short_is_the_first_and_not_kept(
    compilations: Compilations, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A machine too slow for the budget, or short of memory: the next process tries again."""
    monkeypatch.setattr(choices, "time_steps", lambda *_: {})
    assert choose_anew() == PrecisionChoice("float32", {})
    for error in (MemoryError(), OSError("no space left"), RuntimeError("can't start new thread")):
        monkeypatch.setattr(choices, "time_steps", fail_with(error))
        assert choose_anew() == PrecisionChoice("float32", {})
    assert choose_anew() == PrecisionChoice("float32", {})
    assert not (settings.find_cache_dir() / "precision").exists()


def test_a_precision_that_is_refused_is_not_tried_again(
    compilations: Compilations, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A kernel that is missing here is missing for the next process too."""
    with monkeypatch.context() as patch:
        patch.setattr(
            choices, "time_steps", fail_with(RuntimeError("Status: 3, message: could not create a primitive"))
        )
        assert choose_anew() == PrecisionChoice("float32", {})
    assert choose_anew() == PrecisionChoice("float32", {})
    assert compilations == []
    assert len(list_files()) == 1


def fail_with(error: Exception) -> Callable[..., None]:
    def fail(*_: object) -> None:
        raise error

    return fail


def test_kinds_of_models() -> None:
    """A model's kind is what most of its time goes to."""
    plain, norm = (BASE_TABLE.fill_defaults({"batch_norm": norm}) for norm in (False, True))
    assert find_kind(BASE_MODEL, plain) is Kind.CONVOLUTION
    assert find_kind(BASE_MODEL, norm) is Kind.BATCH_NORM
    assert find_kind(ModelRequest("resnet"), {}) is Kind.BATCH_NORM
    assert find_kind(ModelRequest(None, "model.py:build"), {}) is Kind.KERAS
    assert find_kind(ModelRequest("application"), {"application": "VGG16"}) is Kind.CONVOLUTION
    assert find_kind(ModelRequest("application"), {"application": "MobileNetV2"}) is None
    assert choices.choose(None).policy == backends.current.list_precisions()[0]


@pytest.mark.parametrize("kind", Kind)
def test_a_sample_takes_steps(kind: Kind) -> None:
    """In float32; a real measurement is what the first trial of a test makes."""
    samples.compile_sample(kind, "float32")()

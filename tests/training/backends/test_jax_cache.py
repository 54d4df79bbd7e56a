"""What JAX compiled is taken by the next process of the host, whatever has become of the directory it is in."""

import grp
import os
import pwd
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

pytestmark = [
    pytest.mark.tensorflow,
    pytest.mark.skipif(keras.backend.backend() != "jax", reason="it is JAX's file: set KERAS_BACKEND=jax"),
]

if keras.backend.backend() == "jax":
    import jax
    from jax.experimental.compilation_cache import compilation_cache

    from hpsearch.training.backends import jax_cache

EVENTS = "/jax/compilation_cache/"


@pytest.fixture
def count_events() -> Iterator[Counter[str]]:
    """Count what JAX reports of its cache."""
    events: Counter[str] = Counter()

    def count(event: str, **_: Any) -> None:
        events[event.removeprefix(EVENTS)] += 1

    jax.monitoring.register_event_listener(count)
    yield events
    jax.monitoring.unregister_event_listener(count)


@pytest.fixture
def begin_process(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Path], None]]:
    """Forget what this process has compiled, and keep from now on what it compiles, as a trainer does at its start."""
    names = (
        "jax_compilation_cache_dir",
        "jax_persistent_cache_min_compile_time_secs",
        "jax_persistent_cache_min_entry_size_bytes",
    )
    before = {name: getattr(jax.config, name) for name in names}
    monkeypatch.setattr(jax_cache._Cache, "directory", None)

    def restore() -> None:
        for name, value in before.items():
            jax.config.update(name, value)
        jax.clear_caches()
        compilation_cache.reset_cache()

    def begin(directory: Path) -> None:
        restore()
        jax_cache.keep_compiled(directory)

    yield begin
    restore()


def compute() -> np.ndarray[Any, Any]:
    """Return what a compiled function gives."""
    return np.asarray(jax.jit(lambda x: jax.numpy.tanh(x @ x.T).sum(axis=0))(np.linspace(0, 1, 12).reshape(3, 4)))


def test_next_process_compiles_nothing(
    begin_process: Callable[[Path], None], count_events: Counter[str], tmp_path: Path
) -> None:
    """Of a small function too, and it gives the same to the bit."""
    begin_process(tmp_path / "compiled")
    first = compute()
    assert count_events["cache_misses"] == 1
    count_events.clear()
    begin_process(tmp_path / "compiled")
    assert np.array_equal(compute(), first)
    assert count_events["cache_hits"] == count_events["compile_requests_use_cache"] > 0
    assert not count_events["cache_misses"]


@pytest.mark.parametrize("content", [b"", b"half"])
def test_damaged_entry_is_compiled(begin_process: Callable[[Path], None], tmp_path: Path, content: bytes) -> None:
    """The result is as without a cache."""
    begin_process(tmp_path)
    first = compute()
    entries = list(tmp_path.glob("*-cache"))
    assert entries
    for entry in entries:
        entry.write_bytes(content)
    begin_process(tmp_path)
    assert np.array_equal(compute(), first)


def test_directory_that_vanishes_costs_nothing_but_compiling(
    begin_process: Callable[[Path], None], tmp_path: Path
) -> None:
    """As with a full disk, the entry is not written, and the training goes on."""
    begin_process(tmp_path / "compiled")
    compute()
    for entry in (tmp_path / "compiled").iterdir():
        entry.unlink()
    (tmp_path / "compiled").rmdir()
    jax.clear_caches()
    assert compute().shape == (3,)


def test_directory_that_others_write_to_is_left_alone(
    begin_process: Callable[[Path], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is in it would be run, or in what they put in its place; a file there is no cache either."""
    monkeypatch.setattr(jax_cache, "_is_own_group", lambda gid: False)
    for name, mode in (("shared", 0o777), ("group", 0o770)):
        (tmp_path / name).mkdir()
        (tmp_path / name).chmod(mode)
    (tmp_path / "file").touch()
    for name in ("shared", "group", "shared/compiled", "group/compiled", "file"):
        begin_process(tmp_path / name)
        assert jax.config.jax_compilation_cache_dir is None
    (tmp_path / "shared").chmod(0o1777)  # as /tmp: what is in it is its owner's to rename
    begin_process(tmp_path / "shared" / "compiled")
    assert jax.config.jax_compilation_cache_dir == str(tmp_path / "shared" / "compiled")


def test_group_of_the_users_own_may_write(
    begin_process: Callable[[Path], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where each user has a group, all directories are often its to write; a group of others is none."""
    tmp_path.chmod(0o770)
    user = pwd.getpwuid(os.geteuid()).pw_name
    for members, name, is_kept in (([user], user, True), ([user, "another"], user, False), ([], "staff", False)):
        group = grp.struct_group((name, "x", os.getegid(), members))
        monkeypatch.setattr(grp, "getgrgid", lambda gid, group=group: group)
        begin_process(tmp_path / "compiled")
        assert (jax.config.jax_compilation_cache_dir == str(tmp_path / "compiled")) == is_kept


def test_choice_of_the_user_stays(begin_process: Callable[[Path], None], tmp_path: Path) -> None:
    """A directory that the environment names is neither replaced nor swept."""
    begin_process(tmp_path / "ours")
    jax.config.update("jax_compilation_cache_dir", str(tmp_path))
    jax_cache.keep_compiled(tmp_path / "other")
    assert jax.config.jax_compilation_cache_dir == str(tmp_path)
    assert jax_cache._Cache.directory == tmp_path / "ours"


def test_sweep_keeps_what_was_used_last(tmp_path: Path) -> None:
    """By the time of the last use, in directories below too, and nothing that was written a month ago."""
    now = time.time()
    ages = {"old": (0.0, 40 * 86400.0), "unused": (900.0, 900.0), "used": (10.0, 1000.0), "new": (100.0, 100.0)}
    (tmp_path / "below").mkdir()
    for number, (name, (used, written)) in enumerate(ages.items()):
        path = tmp_path / ("below" if number % 2 else "") / name
        path.write_bytes(b"x" * 10)
        os.utime(path, (now - used, now - written))
    jax_cache.sweep(tmp_path, most_bytes=30)
    assert {path.name for path in tmp_path.rglob("*") if path.is_file()} == {"unused", "used", "new"}
    jax_cache.sweep(tmp_path, most_bytes=20)
    assert {path.name for path in tmp_path.rglob("*") if path.is_file()} == {"used", "new"}

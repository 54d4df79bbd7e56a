"""settings.py: where a value comes from, and what is said when it cannot be had."""

import os
import pwd
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import pytest

from hpsearch import settings
from hpsearch.errors import NotFoundError, UsageError
from hpsearch.settings import Setting
from hpsearch.training.images import downloads
from hpsearch.training.images.downloads import PublishedFile

ROOT = Path(__file__).parents[1]


@pytest.fixture(autouse=True)
def _nothing_inherited(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HPSEARCH_STORAGE", "HPSEARCH_STORAGE_FILE", "HPSEARCH_DATA_DIR", "HPSEARCH_DATA_DIR_FILE"):
        monkeypatch.delenv(name, raising=False)


def test_a_variable_names_itself_as_source(monkeypatch: pytest.MonkeyPatch) -> None:
    """A plain variable is its own source."""
    monkeypatch.setenv("HPSEARCH_STORAGE", "postgresql://a/b")
    assert settings.read("HPSEARCH_STORAGE") == Setting("postgresql://a/b", "HPSEARCH_STORAGE")


@pytest.mark.parametrize("given", [None, ""])
def test_unset_and_empty_are_the_same(monkeypatch: pytest.MonkeyPatch, given: str | None) -> None:
    """An empty variable, as compose passes for one that is not set, counts as unset."""
    if given is not None:
        monkeypatch.setenv("HPSEARCH_STORAGE", given)
        monkeypatch.setenv("HPSEARCH_STORAGE_FILE", given)
    assert settings.read("HPSEARCH_STORAGE") is None
    assert settings.read_storage(None) is None


def test_a_file_gives_its_content_without_the_last_newline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """NAME_FILE is how a container is given a secret; editors end files with a newline."""
    (tmp_path / "url").write_text("postgresql://u:p@h/d\n")
    monkeypatch.setenv("HPSEARCH_STORAGE_FILE", str(tmp_path / "url"))
    assert settings.read("HPSEARCH_STORAGE") == Setting("postgresql://u:p@h/d", "HPSEARCH_STORAGE_FILE")


def test_a_file_may_begin_with_a_byte_order_mark(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Some editors put one there unasked, and nobody sees it."""
    (tmp_path / "url").write_bytes(b"\xef\xbb\xbfpostgresql://u:p@h/d\r\n")
    monkeypatch.setenv("HPSEARCH_STORAGE_FILE", str(tmp_path / "url"))
    assert settings.read("HPSEARCH_STORAGE") == Setting("postgresql://u:p@h/d", "HPSEARCH_STORAGE_FILE")


def test_both_set_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Two sources for one value are a contradiction, not a question of precedence."""
    monkeypatch.setenv("HPSEARCH_STORAGE", "postgresql://u:secret@h/d")
    monkeypatch.setenv("HPSEARCH_STORAGE_FILE", str(tmp_path / "url"))
    with pytest.raises(UsageError) as refused:
        settings.read_storage(None)
    assert str(refused.value) == "HPSEARCH_STORAGE and HPSEARCH_STORAGE_FILE are both set: keep one of them"


@pytest.mark.parametrize("kind", ["missing", "directory", "binary"])
def test_an_unreadable_file_is_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, kind: str) -> None:
    """A file that cannot be read is named, with the reason and without a traceback."""
    path = tmp_path / "secret"
    if kind == "directory":
        path.mkdir()
    elif kind == "binary":
        path.write_bytes(b"\xff\xfe\x00")
    monkeypatch.setenv("HPSEARCH_STORAGE_FILE", str(path))
    with pytest.raises(UsageError) as refused:
        settings.read("HPSEARCH_STORAGE")
    reason = {"missing": "No such file or directory", "directory": "Is a directory", "binary": "not UTF-8"}[kind]
    assert str(refused.value) == (f"HPSEARCH_STORAGE_FILE: {path} cannot be read ({reason}): name a readable text file")
    assert refused.value.exit_code == 2


def test_an_empty_file_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A secret that was never written must not pass for a value."""
    (tmp_path / "url").write_text("\n")
    monkeypatch.setenv("HPSEARCH_STORAGE_FILE", str(tmp_path / "url"))
    with pytest.raises(UsageError) as refused:
        settings.read("HPSEARCH_STORAGE")
    assert str(refused.value) == f"HPSEARCH_STORAGE_FILE: {tmp_path / 'url'} is empty: put the value in it"


def test_an_option_goes_before_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """--storage on the command line decides, and says so."""
    monkeypatch.setenv("HPSEARCH_STORAGE", "postgresql://environment/d")
    assert settings.read_storage("postgresql://option/d") == Setting("postgresql://option/d", "--storage")
    assert settings.read_storage(None) == Setting("postgresql://environment/d", "HPSEARCH_STORAGE")


def test_data_dir_takes_a_tilde(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Quoted in a shell or written in compose, ~ reaches us as it is."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("HPSEARCH_DATA_DIR", "~/data")
    assert settings.find_data_dir() == tmp_path / "data"


def test_data_dir_is_none_where_nobody_named_one() -> None:
    """Without HPSEARCH_DATA_DIR the cache is looked at instead."""
    assert settings.find_data_dir() is None


def test_home_and_cache_follow_the_users_directories(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The embedded Postgres and the downloads are where the platform keeps such things."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "share"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert settings.find_home_dir() == tmp_path / "share" / "hpsearch"
    assert settings.find_cache_dir() == tmp_path / "cache" / "hpsearch"


def test_a_trainer_is_pinned_to_its_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """The trainer sees one GPU, by UUID, counted in PCI order; what else is set reaches it unchanged."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,4")
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    environment = settings.make_trainer_environment("GPU-a1")
    assert environment["CUDA_VISIBLE_DEVICES"] == "GPU-a1"
    assert environment["CUDA_DEVICE_ORDER"] == "PCI_BUS_ID"
    assert environment["TF_FORCE_GPU_ALLOW_GROWTH"] == "true"
    assert environment["KERAS_BACKEND"] == "jax"


@pytest.mark.parametrize(
    ("inherited", "trainers"),
    [("", ""), (":/a", "/a"), ("/a:", "/a"), ("/a::/b", "/a:/b"), (":", ""), ("/a:.", "/a:.")],
)
def test_an_empty_part_of_the_python_path_is_not_the_working_directory(
    monkeypatch: pytest.MonkeyPatch, inherited: str, trainers: str
) -> None:
    """`export PYTHONPATH=$PYTHONPATH:/a` is not meant to say so; whoever means it writes a dot."""
    monkeypatch.setenv("PYTHONPATH", inherited)
    assert settings.make_trainer_environment(None)["PYTHONPATH"] == trainers


def test_a_trainer_has_its_share_of_the_gpu_on_either_backend(monkeypatch: pytest.MonkeyPatch) -> None:
    """The share goes to TensorFlow in bytes and to JAX as a fraction, in place of one that was inherited."""
    monkeypatch.setenv("XLA_PYTHON_CLIENT_MEM_FRACTION", "0.3")
    environment = settings.make_trainer_environment("GPU-a1", 2**30, 0.225)
    assert environment[settings.TRAINER_MEMORY] == str(2**30)
    assert environment["XLA_CLIENT_MEM_FRACTION"] == "0.2250"
    assert "XLA_PYTHON_CLIENT_MEM_FRACTION" not in environment


def test_a_trainer_on_the_cpu_sees_no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """--cpu hides every GPU from both frameworks, whatever was inherited."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    environment = settings.make_trainer_environment(None)
    assert environment["CUDA_VISIBLE_DEVICES"] == "-1"
    assert environment["JAX_PLATFORMS"] == "cpu"


@pytest.mark.parametrize("inherited", [None, "", "1,2"])
def test_visible_devices_tells_unset_from_empty(monkeypatch: pytest.MonkeyPatch, inherited: str | None) -> None:
    """An empty CUDA_VISIBLE_DEVICES hides all GPUs; one that is not set hides none."""
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if inherited is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", inherited)
    assert settings.read_visible_devices() == inherited


def test_the_time_after_which_a_trainer_is_stalled(monkeypatch: pytest.MonkeyPatch) -> None:
    """A number of seconds; anything else is one line."""
    monkeypatch.delenv("HPSEARCH_STALL_SECONDS", raising=False)
    assert settings.read_stall_seconds() is None
    monkeypatch.setenv("HPSEARCH_STALL_SECONDS", "1800")
    assert settings.read_stall_seconds() == 1800
    for value in ("soon", "0", "-1", "nan", "inf"):
        monkeypatch.setenv("HPSEARCH_STALL_SECONDS", value)
        with pytest.raises(UsageError, match=r"HPSEARCH_STALL_SECONDS is '.*': set it to a number of seconds"):
            settings.read_stall_seconds()


def test_a_trainer_prints_any_text_whatever_the_host_prints(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a user's code prints is UTF-8, as a worker reads it, and never ends a training."""
    monkeypatch.setenv("PYTHONIOENCODING", "ascii")
    program = r"import sys; print('Gr\xf6\xdfe \u6a21\u578b \udcff'); print('\u6a21', file=sys.stderr)"
    environment = settings.make_trainer_environment(None)
    ended = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, check=True)
    assert (ended.stdout.decode(), ended.stderr.decode()) == ("Größe 模型 ?\n", "模\n")


@pytest.fixture
def homeless(monkeypatch: pytest.MonkeyPatch) -> None:
    """A user without HOME and without an entry in passwd, as any uid in a container is."""

    def find_no_entry(uid: int) -> NoReturn:
        raise KeyError(uid)

    for name in ("HOME", "XDG_CACHE_HOME", "XDG_DATA_HOME", "KERAS_HOME", "HPSEARCH_DATA_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(pwd, "getpwuid", find_no_entry)


@pytest.mark.usefixtures("homeless")
@pytest.mark.parametrize(
    ("find", "remedy"),
    [
        (settings.find_cache_dir, "XDG_CACHE_HOME"),
        (settings.find_home_dir, "--storage"),
        (lambda: settings.expand_home("~/images"), "write the whole path"),
        (lambda: settings.expand_home("~nobody-of-that-name/images"), "write the whole path"),
        (
            lambda: downloads.download(PublishedFile("MNIST", "mnist.npz", "", None, 11, "mnist.npz")),
            "HPSEARCH_DATA_DIR",
        ),
    ],
)
def test_a_home_that_is_needed_and_not_there_is_one_line(find: Callable[[], Path], remedy: str) -> None:
    """What needs a home says so, and what to set instead."""
    with pytest.raises(NotFoundError) as refused:
        find()
    assert remedy in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.usefixtures("homeless")
def test_a_home_that_is_not_needed_is_not_missed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Data sets are looked for where the user says, and nowhere where nothing is said."""
    assert downloads.list_places() == ()
    monkeypatch.setenv("HPSEARCH_DATA_DIR", str(tmp_path))
    assert downloads.list_places() == (tmp_path,)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    assert settings.find_home_dir() == tmp_path / "hpsearch"


@pytest.mark.parametrize(
    ("variables", "job"),
    [
        ({}, None),
        ({"SLURM_JOB_ID": "7"}, "slurm 7"),
        ({"SLURM_JOB_ID": "7", "SLURM_ARRAY_JOB_ID": "5", "SLURM_ARRAY_TASK_ID": "2"}, "slurm 5_2"),
        ({"HPSEARCH_JOB": "kubernetes lab/pod-1"}, "kubernetes lab/pod-1"),
        ({"HPSEARCH_JOB": "kubernetes lab/pod-1", "SLURM_JOB_ID": "7"}, "slurm 7"),
        ({"HPSEARCH_JOB": "a\x1b[2J\udcff\nb"}, r"a\x1b[2J\udcff\nb"),
    ],
)
def test_a_job_is_what_its_engine_says(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], job: str | None
) -> None:
    """Slurm's own variables, else HPSEARCH_JOB, in a form that any database and terminal takes."""
    for name in ("SLURM_JOB_ID", "SLURM_ARRAY_JOB_ID", "SLURM_ARRAY_TASK_ID", "HPSEARCH_JOB"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert settings.read_job() == job


def test_a_long_job_is_shortened(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its two ends are kept."""
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    monkeypatch.setenv("HPSEARCH_JOB", "a" * 500 + "z")
    job = settings.read_job()
    assert job is not None
    assert len(job) == settings.JOB_LENGTH
    assert job.endswith("az")


def test_jobs_get_the_settings_without_the_secrets(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Paths hold in any directory; a URL, a password and what a worker sets for its trainers stay behind."""
    for name in list(os.environ):
        if name.startswith(("HPSEARCH_", "KERAS_")):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    secrets = {
        "HPSEARCH_STORAGE": "postgresql://u:p@h/d",
        "HPSEARCH_DASHBOARD_PASSWORD_FILE": "password",
        "HPSEARCH_WEBHOOK_URL": "https://hooks.example/secret",
        "HPSEARCH_WEBHOOK_SECRET": "secret",
    }
    kept = {"HPSEARCH_DATA_DIR": "images", "KERAS_BACKEND": "jax", "HPSEARCH_STALL_SECONDS": "9", "HPSEARCH_CODE": ""}
    for name, value in {**secrets, **kept, "PGPASSWORD": "p", settings.TRAINER_MEMORY: "1"}.items():
        monkeypatch.setenv(name, value)
    assert settings.list_job_settings() == {
        "HPSEARCH_DATA_DIR": str(tmp_path / "images"),
        "HPSEARCH_STALL_SECONDS": "9",
        "KERAS_BACKEND": "jax",
    }
    environment = settings.make_submission_environment()
    assert not {*secrets, "PGPASSWORD", settings.TRAINER_MEMORY} & set(environment)
    assert environment["PATH"] == os.environ["PATH"]


def test_of_the_documented_settings_only_these_reach_jobs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who documents another one decides here whether it may be written into a script."""
    documented = set(re.findall(r"HPSEARCH_[A-Z_]+", (ROOT / "docs" / "commands.md").read_text()))
    for name in documented:
        monkeypatch.setenv(name, "a")
    passed = {"HPSEARCH_ARTIFACTS", "HPSEARCH_CODE", "HPSEARCH_DATA_DIR", "HPSEARCH_STALL_SECONDS"}
    travelling = {name.removesuffix("_FILE") for name in settings.list_job_settings() if name in documented}
    assert travelling == passed

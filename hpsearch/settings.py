"""The settings of the environment; no other module reads it. Every value knows where it came from."""

import math
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import platformdirs

from hpsearch.errors import NotFoundError, UsageError, shorten
from hpsearch.formatting import make_printable

TRAINER_MEMORY = "HPSEARCH_TRAINER_MEMORY"
DEVICE_MEMORY = "HPSEARCH_DEVICE_MEMORY"
"""Both are set by a worker for its trainers; not settings of the user's."""

JOB_LENGTH = 100
"""Characters of a job's name that are stored."""

NOT_FOR_JOBS = {
    "HPSEARCH_STORAGE",  # whose file they get by itself
    "HPSEARCH_DASHBOARD_PASSWORD",
    "HPSEARCH_WEBHOOK_SECRET",
    "HPSEARCH_WEBHOOK_URL",  # which is a secret itself
    "HPSEARCH_JOB",
    "PGPASSWORD",
    TRAINER_MEMORY,
    DEVICE_MEMORY,
}
"""Variables that do not travel to a batch engine's jobs."""

COMPUTE_VARIABLES = ("OMP_", "TF_NUM_", "TF_ENABLE_", "ONEDNN_", "DNNL_", "XLA_FLAGS", "TF_XLA_FLAGS", "NVIDIA_TF32")
"""How the variables begin that change how fast a framework computes."""

KERAS_BACKEND, KERAS_HOME = "KERAS_BACKEND", "KERAS_HOME"
BACKENDS = ("tensorflow", "jax")


@dataclass(frozen=True)
class Setting:
    """A value and its source, such as `--storage`, `HPSEARCH_STORAGE` or `HPSEARCH_STORAGE_FILE`."""

    value: str
    source: str


def read(name: str) -> Setting | None:
    """Return the variable `name`, or the content of the file that `name_FILE` names (for the secrets of containers).

    Raises:
        UsageError: both are set, or the file cannot be read or is empty.
    """
    value, file = os.environ.get(name), os.environ.get(f"{name}_FILE")
    if value and file:
        raise UsageError(f"{name} and {name}_FILE are both set: keep one of them")
    if file:
        try:
            content = Path(file).read_text(encoding="utf-8-sig").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(
                f"{name}_FILE: {file} cannot be read ({_reason(error)}): name a readable text file"
            ) from None
        if not content:
            raise UsageError(f"{name}_FILE: {file} is empty: put the value in it")
        return Setting(content, f"{name}_FILE")
    return Setting(value, name) if value else None


def read_storage(option: str | None) -> Setting | None:
    """Return where the database is: `--storage`, else HPSEARCH_STORAGE; None means the embedded server."""
    return Setting(option, "--storage") if option else read("HPSEARCH_STORAGE")


def find_storage_file() -> Path | None:
    """Return the file that HPSEARCH_STORAGE_FILE names, as a path that holds in every directory."""
    file = os.environ.get("HPSEARCH_STORAGE_FILE")
    return Path(file).absolute() if file else None


def read_artifacts() -> Setting | None:
    """Return where the files of new studies are kept (HPSEARCH_ARTIFACTS); None means in Postgres."""
    return read("HPSEARCH_ARTIFACTS")


def read_dashboard_password() -> Setting | None:
    """Return the password of the dashboard (HPSEARCH_DASHBOARD_PASSWORD); None means that it has none."""
    return read("HPSEARCH_DASHBOARD_PASSWORD")


def read_webhook(option: str | None) -> Setting | None:
    """Return the address of a webhook: `--webhook`, else HPSEARCH_WEBHOOK_URL; None where there is none."""
    return Setting(option, "--webhook") if option else read("HPSEARCH_WEBHOOK_URL")


def read_webhook_secret() -> Setting | None:
    """Return what events are signed with (HPSEARCH_WEBHOOK_SECRET); None means that they are not."""
    return read("HPSEARCH_WEBHOOK_SECRET")


def serves_own_code() -> bool:
    """Return whether a worker serves studies with code of their own (HPSEARCH_CODE: serve, the default, or refuse).

    Raises:
        UsageError: it is another word.
    """
    setting = read("HPSEARCH_CODE")
    if setting is not None and setting.value not in {"serve", "refuse"}:
        raise UsageError(f"{setting.source} is {setting.value!r}: set it to refuse, or to serve, which is the default")
    return setting is None or setting.value == "serve"


def read_job() -> str | None:
    """Return the batch engine's job that this process runs in: Slurm's, else what HPSEARCH_JOB says; None without one.

    An element of an array is told by the ids that `scancel` and `scontrol` take, such as `slurm 123_4`.
    """
    array, element = os.environ.get("SLURM_ARRAY_JOB_ID"), os.environ.get("SLURM_ARRAY_TASK_ID")
    if array and element:
        return _clean_job(f"slurm {array}_{element}")
    if job := os.environ.get("SLURM_JOB_ID"):
        return _clean_job(f"slurm {job}")
    setting = read("HPSEARCH_JOB")
    return _clean_job(setting.value) if setting else None


def _clean_job(job: str) -> str:
    return shorten(make_printable(job), JOB_LENGTH)


def list_job_settings() -> Mapping[str, str]:
    """Return the settings of this environment that a worker in a job is to have: none with a secret, paths absolute."""
    kept = {}
    for name, value in os.environ.items():
        if not value or not (name.startswith("HPSEARCH_") or name in {KERAS_BACKEND, KERAS_HOME}):
            continue
        if name.removesuffix("_FILE") not in NOT_FOR_JOBS:
            is_path = name.endswith("_FILE") or name in {"HPSEARCH_DATA_DIR", KERAS_HOME}
            kept[name] = str(expand_home(value).absolute()) if is_path else value
    return dict(sorted(kept.items()))


def make_submission_environment() -> Mapping[str, str]:
    """Return this environment without secrets, for a program that hands it on to jobs."""
    return {name: value for name, value in os.environ.items() if name.removesuffix("_FILE") not in NOT_FOR_JOBS}


def list_libpq_variables() -> Mapping[str, str]:
    """Return what the environment sets for every program that connects to Postgres by libpq (PGHOST, PGSERVICE...)."""
    return {name: value for name, value in os.environ.items() if name.startswith("PG")}


def read_stall_seconds() -> float | None:
    """Return after how many silent seconds a trainer counts as stalled (HPSEARCH_STALL_SECONDS); None: the default.

    Raises:
        UsageError: it is no number from 1 up.
    """
    setting = read("HPSEARCH_STALL_SECONDS")
    if setting is None:
        return None
    try:
        seconds = float(setting.value)
    except ValueError:
        seconds = math.nan
    if not (math.isfinite(seconds) and seconds >= 1):
        raise UsageError(f"{setting.source} is {setting.value!r}: set it to a number of seconds, such as 1800")
    return seconds


def find_data_dir() -> Path | None:
    """Return the directory in which the user keeps datasets (HPSEARCH_DATA_DIR).

    Raises:
        NotFoundError: it begins with ~, and there is no such home directory.
    """
    setting = read("HPSEARCH_DATA_DIR")
    return expand_home(setting.value) if setting else None


def expand_home(path: str) -> Path:
    """Return a path with the home directory in place of a leading ~.

    Raises:
        NotFoundError: there is no such home directory.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError:
        raise NotFoundError(f"{path!r}: there is no such home directory, write the whole path") from None


def find_cache_dir() -> Path:
    """Return where downloaded datasets are kept, in the user's cache directory.

    Raises:
        NotFoundError: the user has no home directory, as in a container that runs as any uid.
    """
    try:
        return platformdirs.user_cache_path("hpsearch")
    except RuntimeError:
        raise NotFoundError(f"user {os.getuid()} has no home directory: set HOME or XDG_CACHE_HOME") from None


def find_home_dir() -> Path:
    """Return where the embedded Postgres keeps its data, in the user's data directory.

    Raises:
        NotFoundError: the user has no home directory.
    """
    try:
        return platformdirs.user_data_path("hpsearch")
    except RuntimeError:
        raise NotFoundError(
            f"user {os.getuid()} has no home directory, where the embedded Postgres keeps its data: set HOME or "
            "XDG_DATA_HOME, or name a server with --storage"
        ) from None


def make_trainer_environment(
    gpu: str | None,
    memory: int | None = None,
    share: float | None = None,
    threads: int | None = None,
    *,
    alone: bool = False,
) -> Mapping[str, str]:
    """Return the environment of a trainer process: this one, with the device pinned.

    Args:
        gpu: the UUID (or index) to pin, or None to hide every GPU.
        memory: bytes of the GPU that are for it; None where they are not known.
        share: the same as a fraction of the GPU's memory, for JAX, which takes 0.75 unless told.
        threads: how many it may compute with, where it shares the host's cores.
        alone: whether it has the GPU to itself, and may take more where it must.

    Raises:
        UsageError: KERAS_BACKEND names one that nothing here trains on.
    """
    pinned = {
        "CUDA_DEVICE_ORDER": "PCI_BUS_ID",
        "CUDA_VISIBLE_DEVICES": gpu if gpu is not None else "-1",
        "TF_FORCE_GPU_ALLOW_GROWTH": "true",
        "XLA_PYTHON_CLIENT_PREALLOCATE": "false",
        "PYTHONUNBUFFERED": "1",
        "PYTHONIOENCODING": "utf-8:replace",  # as the worker reads it
        KERAS_BACKEND: _read_backend(),
    }
    if gpu is None:
        pinned["JAX_PLATFORMS"] = "cpu"
    if memory is not None:
        pinned[DEVICE_MEMORY] = str(memory)
        if not alone:
            pinned[TRAINER_MEMORY] = str(memory)
    inherited = _drop_foreign_settings(os.environ)
    if share is not None:
        pinned["XLA_CLIENT_MEM_FRACTION"] = f"{share:.4f}"
        inherited.pop("XLA_PYTHON_CLIENT_MEM_FRACTION", None)  # JAX refuses to start with its old name beside it
    if threads is not None:
        pinned |= dict.fromkeys(("OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"), str(threads))
    return {"TF_CPP_MIN_LOG_LEVEL": "3", **inherited, **pinned}


def _read_backend() -> str:
    """Return the framework that Keras is to run on (KERAS_BACKEND)."""
    backend = os.environ.get(KERAS_BACKEND) or BACKENDS[0]
    if backend not in BACKENDS:
        raise UsageError(f"KERAS_BACKEND is {backend!r}: set it to {' or '.join(BACKENDS)}")
    return backend


def find_keras_home() -> Path:
    """Return where Keras keeps what it downloads, as Keras finds it."""
    if home := os.environ.get(KERAS_HOME):
        return expand_home(home)
    user = os.path.expanduser("~")  # noqa: PTH111 - Path's raises where there is no home
    return Path(user, ".keras") if os.access(user, os.W_OK) else _SHARED_KERAS_HOME


_SHARED_KERAS_HOME = Path("/tmp/.keras")  # noqa: S108 - Keras's own choice


def find_keras_datasets() -> Path | None:
    """Return where Keras keeps data sets; None where that is a place that anybody may have written to."""
    home = find_keras_home()
    return None if home == _SHARED_KERAS_HOME else home / "datasets"


@contextmanager
def change_keras_home(directory: str) -> Iterator[None]:
    """Have Keras take `directory` for its own in the block."""
    home = os.environ.get(KERAS_HOME)
    os.environ[KERAS_HOME] = directory
    try:
        yield
    finally:
        del os.environ[KERAS_HOME]
        if home is not None:
            os.environ[KERAS_HOME] = home


def make_python_command(module: str, *arguments: str) -> list[str]:
    """Return the command that runs a module of this installation with `arguments`.

    With -P, because files in the working directory must not replace those of the standard library, of a package or of
    hpsearch itself.
    """
    return [sys.executable, "-P", "-m", module, *arguments]


def list_compute_variables() -> Mapping[str, str]:
    """Return what the environment tells the frameworks of how to compute: threads, instructions, kernels."""
    return {name: value for name, value in sorted(os.environ.items()) if name.startswith(COMPUTE_VARIABLES)}


def read_trainer_memory() -> int | None:
    """Return the bytes of its GPU that this trainer process may take; None means all of them."""
    share = os.environ.get(TRAINER_MEMORY)
    return int(share) if share else None


def read_device_memory() -> int | None:
    """Return the bytes of its GPU that are for this trainer process, whether or not it is kept to them."""
    memory = os.environ.get(DEVICE_MEMORY)
    return int(memory) if memory else None


def read_visible_devices() -> str | None:
    """Return CUDA_VISIBLE_DEVICES as inherited: indices given to `--gpu` count within it."""
    return os.environ.get("CUDA_VISIBLE_DEVICES")


def _drop_foreign_settings(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the environment without what would change, unseen, what is trained, or which modules that takes.

    Of Keras's variables that leaves the place of its downloads: others shorten the epochs of `fit`.
    """
    kept = {name: value for name, value in environment.items() if not name.startswith("KERAS_") or name == KERAS_HOME}
    if path := kept.get("PYTHONPATH"):  # an empty part, as `$PYTHONPATH:/x` easily has, is the working directory
        kept["PYTHONPATH"] = os.pathsep.join(filter(None, path.split(os.pathsep)))
    return kept


def _reason(error: OSError | UnicodeDecodeError) -> str:
    return error.strerror or type(error).__name__ if isinstance(error, OSError) else "not UTF-8"

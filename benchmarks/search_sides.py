"""What the search benchmark compares: tasks, plain Optuna and KerasTuner, the service and its variants."""

import importlib.metadata
import json
import multiprocessing
import os
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hpsearch.spec import loader

ROOT = Path(__file__).parent.parent
BUILD = ROOT / "build" / "bench"
ALTERNATIVES = Path(__file__).parent / "alternatives"


@dataclass(frozen=True)
class Task:
    """What is searched on: the study's `[data]`, epochs and batch size of a trial.

    `trials` is how many plain Optuna runs; KerasTuner and the service are stopped after `cpu_seconds`, the
    service with baselines or an ablation after `cpu_seconds_short`.
    """

    data: Mapping[str, Any]
    epochs: int
    batch_size: int
    trials: int
    cpu_seconds: float
    cpu_seconds_short: float
    classes: int = 10

    def limit(self, side: str) -> float | None:
        """The CPU seconds after which a side is stopped; None: it ends by itself."""
        if side == "optuna":
            return None
        return self.cpu_seconds if side in ("kerastuner", "service") else self.cpu_seconds_short


TASKS = {
    "cifar10": Task({"name": "cifar10", "train_limit": 5000, "validation": 2000}, 8, 128, 20, 400, 200),
    # With all of the 1,137 images that could be trained on, three of 20 random trials had all but one of 300 right.
    "digits": Task({"name": "digits", "train_limit": 500, "validation": 800}, 8, 128, 20, 120, 60),
    "quick": Task({"name": "digits", "train_limit": 500, "validation": 300}, 3, 128, 2, 20, 20),
}


@dataclass(frozen=True)
class Variant:
    """The service, but for `changes` to the study (a sampler or pruner is replaced as a whole) and its environment.

    There ROOT stands for the checkout, so that a record does not say where that was.
    """

    title: str
    changes: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)
    baselines: bool = False


SERVICE = {
    "service": Variant("hpsearch"),
    "baselines": Variant("hpsearch, with baselines", baselines=True),
}
ABLATIONS = {
    "control": Variant("… nothing changed"),
    "no-pruner": Variant("… without a pruner", {"pruner": {"name": "none"}}),
    "optuna-pruner": Variant("… Optuna's median pruner", {"pruner": {"name": "median"}}),
    "optuna-asha": Variant("… Optuna's ASHA", {"pruner": {"name": "asha"}}),
    "random": Variant("… random sampling", {"sampler": {"name": "random"}}),
    "no-patience": Variant("… starts at chance go on", {"budget": {"patience": 1000}}),
    "keras-batch-norm": Variant("… Keras's batch norm", environment={"PYTHONPATH": "ROOT:ROOT/benchmarks/ablations"}),
}
VARIANTS = SERVICE | ABLATIONS

TITLES = {
    "optuna": "Optuna, MedianPruner",
    "kerastuner": "KerasTuner, Hyperband",
    **{name: variant.title for name, variant in VARIANTS.items()},
}
"""Every side, in the order in which they run and are listed."""

PINS = {"optuna": ("optuna",), "kerastuner": ("keras-tuner==1.4.8", "tensorboard==2.21.0")}
"""What the environment of each has besides TensorFlow and Keras; constraints.txt, ours, pins the rest."""

VERSIONS = "import importlib.metadata as m, json; print(json.dumps({d.name: d.version for d in m.distributions()}))"
SHOWN = ("tensorflow", "keras", "optuna", "keras-tuner", "numpy")


@dataclass(frozen=True)
class Launch:
    """How a side is started, and what it is, for the record.

    `configuration` is what the tables print or check of it; the commit and this file tell the rest.
    """

    command: tuple[str, ...]
    environment: Mapping[str, str]
    configuration: Mapping[str, Any]
    versions: Mapping[str, str]


def launch(task: Task, name: str, seed: int, trials: int) -> Launch:
    """Return how side `name` is started; its scratch directory is still called SCRATCH."""
    if name in VARIANTS:
        return _service(task, VARIANTS[name], seed)
    python, images = environment(name), _images(task, seed)
    last = str(trials) if name == "optuna" else "SCRATCH"
    script = str(ALTERNATIVES / f"{name}_script.py")
    command = (str(python), script, str(images), str(seed), str(task.epochs), str(task.batch_size), last)
    configuration = {"trials": trials} if name == "optuna" else {}
    # The processor for everyone: what the service's worker hides from its trainer too.
    hidden = {"CUDA_VISIBLE_DEVICES": "-1", "TF_CPP_MIN_LOG_LEVEL": "3", "TMPDIR": "SCRATCH"}
    installed = subprocess.run([str(python), "-c", VERSIONS], capture_output=True, check=True, text=True).stdout
    versions = {package: version for package, version in json.loads(installed).items() if package in SHOWN}
    return Launch(command, {**dict(_inherited()), **hidden}, configuration, versions)


def _service(task: Task, variant: Variant, seed: int) -> Launch:
    described = study(task, variant, seed)
    complete = loader.from_dict(described).to_json()
    configuration = {"sampler": complete["sampler"], "pruner": complete["pruner"]}
    if variant.environment:
        configuration["environment"] = dict(variant.environment)
    configuration["patience"] = complete["budget"]["patience"]
    command = (sys.executable, str(Path(__file__).with_name("search_service.py")), json.dumps(described))
    home = {"XDG_DATA_HOME": "SCRATCH", "TMPDIR": "SCRATCH", "PYTHONPATH": str(ROOT)}
    versions = {package: importlib.metadata.version(package) for package in SHOWN if package != "keras-tuner"}
    changed = {name: value.replace("ROOT", str(ROOT)) for name, value in variant.environment.items()}
    return Launch(command, {**dict(_inherited()), **home, **changed}, configuration, versions)


def study(task: Task, variant: Variant, seed: int) -> dict[str, Any]:
    """Return the default study on the task's images, for `study_spec.from_dict`."""
    described: dict[str, Any] = tomllib.loads((ROOT / "studies" / "cifar10-cnn.toml").read_text("utf-8"))
    if not variant.baselines:
        described.pop("baseline", None)
    described["study"] = {"name": "search", "seed": seed}
    described["budget"] = {"trials": 10_000, "epochs": task.epochs}  # more than any run gets to
    described["data"] = dict(task.data)
    described["fixed"] = {"batch_size": task.batch_size}
    for section, change in variant.changes.items():
        named = "name" in change
        described[section] = dict(change) if named else {**described.get(section, {}), **change}
    return described


def environment(alternative: str) -> Path:
    """Return the Python of an alternative's own environment; make it where it is missing."""
    directory = BUILD / alternative
    python, made = directory / "bin" / "python", directory / "made"
    if not made.exists():
        print(f"making {directory.relative_to(ROOT)}; it takes some minutes", file=sys.stderr)
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(directory)], check=True)
        install = [str(python), "-m", "pip", "install", "--quiet", "--constraint", str(ROOT / "constraints.txt")]
        subprocess.run([*install, "tensorflow", "keras", "numpy", *PINS[alternative]], check=True)
        made.touch()
    return python


def _images(task: Task, seed: int) -> Path:
    """Return the service's own split as a file, so that every side of a seed sees the same images."""
    words = "-".join(str(value) for value in task.data.values())
    file = BUILD / "search" / "images" / f"{words}-{seed}.npz"
    if not file.exists():
        # In a process of its own, because it loads Keras.
        process = multiprocessing.get_context("spawn").Process(target=_save_images, args=(task, seed, file))
        process.start()
        process.join()
        if process.exitcode != 0:
            raise RuntimeError(f"{file} cannot be made")
    return file


def _save_images(task: Task, seed: int, file: Path) -> None:
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    import numpy as np

    from hpsearch.training.loading import load
    from hpsearch.training.requests import DataRequest

    data = load(DataRequest(task.data["name"], task.data.get("train_limit"), task.data["validation"], seed))
    file.parent.mkdir(parents=True, exist_ok=True)
    half = file.with_suffix(f".{os.getpid()}.npz")
    np.savez(half, x_train=data.x_train[:], y_train=data.y_train, x_val=data.x_val[:], y_val=data.y_val)
    half.replace(file)


def _inherited() -> Iterator[tuple[str, str]]:
    """Yield this process's environment without what would change a run: our packages, databases and settings."""
    for name, value in os.environ.items():
        ours = name.startswith("HPSEARCH_") and name != "HPSEARCH_DATA_DIR"
        if not ours and name not in ("PYTHONPATH", "VIRTUAL_ENV", "KERAS_BACKEND"):
            yield name, value

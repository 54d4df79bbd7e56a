"""The rows of `gpu.py`'s table, and what its parts share."""

import json
import os
import pickle
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path

import numpy as np

from hpsearch import devices
from hpsearch.devices import Gpu
from hpsearch.training.datasets import cifar10

QUICK = "HPSEARCH_BENCHMARK_QUICK"
"""The environment variable that makes the parts short."""

TINY: Mapping[str, int] = {"filters": 4, "dense_units": 16}
"""The network of a short run."""


class Verdict(StrEnum):
    """What a row says of the service."""

    OK = "ok"
    WRONG = "WRONG"
    FAILED = "failed"
    LEFT_OUT = "left out"
    MEASURED = "measured"


@dataclass(frozen=True)
class Row:
    """A row of the table; `reason` says why it failed or was left out."""

    check: str
    figure: str
    verdict: Verdict
    reason: str = ""

    @classmethod
    def read(cls, line: str) -> "Row":
        """Read what `report` printed."""
        row = json.loads(line)
        return cls(row["check"], row["figure"], Verdict(row["verdict"]), row["reason"])

    @property
    def judgement(self) -> str:
        """The verdict and its reason, in a cell."""
        return f"{self.verdict}{': ' + self.reason if self.reason else ''}".replace("|", "/")


def report(check: str, figure: str, verdict: Verdict | bool = Verdict.MEASURED, reason: str = "") -> None:
    """Print a row; a truth value is a verdict too."""
    if not isinstance(verdict, Verdict):
        verdict = Verdict.OK if verdict else Verdict.WRONG
    print(json.dumps(asdict(Row(check, figure.replace("|", "/"), verdict, reason))), flush=True)


def leave_out(check: str, reason: str) -> None:
    """Print that a check was not made."""
    report(check, "", Verdict.LEFT_OUT, reason)


def is_quick() -> bool:
    """Return whether the parts are to be short."""
    return bool(os.environ.get(QUICK))


def choose_network() -> Mapping[str, int]:
    """Return the hyperparameters of the network to train: the base model's, in a short run those of a tiny one."""
    return TINY if is_quick() else {}


def find_gpu() -> Gpu | None:
    """Return the GPU that is checked."""
    return next(iter(devices.list_gpus()), None)


def call_part(parts: Mapping[str, Callable[[], None]]) -> None:
    """Call the part that the command line names."""
    parts[sys.argv[1]]()


def write_random_images(directory: Path) -> None:
    """Write random images with random labels, in the layout of CIFAR-10's official files."""
    place = directory / cifar10.DIRECTORY
    place.mkdir()
    random = np.random.default_rng(0)
    for name in (*cifar10.TRAIN, cifar10.TEST):
        images = random.integers(0, 256, (cifar10.BATCH_IMAGES, 3072), dtype=np.uint8)
        labels = random.integers(0, len(cifar10.CLASSES), cifar10.BATCH_IMAGES).tolist()
        (place / name).write_bytes(pickle.dumps({b"data": images, b"labels": labels}))
    names = [name.encode() for name in cifar10.CLASSES]
    (place / cifar10.META).write_bytes(pickle.dumps({b"label_names": names}))

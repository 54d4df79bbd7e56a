"""What the tests of training share: small jobs, and an archive in CIFAR-10's layout."""

import io
import os
import pickle
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hpsearch.spec.hyperparameters import BASE_TABLE
from hpsearch.training.datasets import cifar10
from hpsearch.training.protocol import Train
from tests.support.training_jobs import DIGITS, TINY, MakeJob

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # before any test here imports the framework


def pytest_configure(config: pytest.Config) -> None:
    # Keras reads its TensorFlow variables in a way that numpy 2 finds old-fashioned; nothing here can change that.
    config.addinivalue_line(
        "filterwarnings", "ignore:__array__ implementation doesn't accept a copy:DeprecationWarning"
    )


@pytest.fixture
def job(tmp_path: Path) -> MakeJob:
    """Make a job of a tiny model; see `MakeJob`."""

    def make(values: dict[str, Any] | None = None, **fields: Any) -> Train:
        defaults: dict[str, Any] = {
            "hyperparameters": BASE_TABLE.fill_defaults({**TINY, **(values or {})}),
            "data": DIGITS,
            "seed": 1,
            "epochs": 3,
            "metric": "val_accuracy",
            "patience": 10,
            "early_stopping": None,
            "workdir": str(tmp_path / "work"),
            "checkpoint_every": 0.0,
        }
        return Train(**{**defaults, **fields})

    return make


@pytest.fixture
def diverging(job: MakeJob) -> Train:
    """A job whose loss soon is not a number: each step multiplies the weights by 1 - 2 * 10 * 10.

    Some processors' ReLU turns NaN into 0; tanh passes it on.
    """
    return job({"optimizer": "sgd", "learning_rate": 10.0, "l2": 10.0, "activation": "tanh", "batch_size": 4})


@pytest.fixture(scope="session")
def cifar_archive() -> bytes:
    """An archive in CIFAR-10's layout with 20 made-up images a batch."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:gz") as archive:
        for number, name in enumerate((*cifar10.TRAIN, cifar10.TEST, cifar10.META)):
            rows = np.random.default_rng(number).integers(0, 256, (20, 3072), dtype=np.uint8)
            batch = {b"data": rows, b"labels": [image % 10 for image in range(20)]}
            content = pickle.dumps({b"label_names": [b"thing"] * 10} if name == cifar10.META else batch, protocol=2)
            member = tarfile.TarInfo(f"{cifar10.DIRECTORY}/{name}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return file.getvalue()

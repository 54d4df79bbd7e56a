"""Predictions of a saved model on the CPU, to compare the GPU's with."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from hpsearch import settings

PROGRAM = (
    "import sys, keras, numpy; model = keras.saving.load_model(sys.argv[1]); "
    "numpy.save(sys.argv[3], model.predict(numpy.load(sys.argv[2]), verbose=0))"
)


def predict_on_cpu(model: str, images: npt.NDArray[Any], directory: Path) -> npt.NDArray[np.float32]:
    """Return what a saved model predicts in a process that sees no GPU and imports nothing of this package."""
    paths = model, str(directory / "images.npy"), str(directory / "predicted.npy")
    np.save(paths[1], images)
    environment = dict(settings.make_trainer_environment(None))
    subprocess.run([sys.executable, "-c", PROGRAM, *paths], env=environment, check=True, capture_output=True)
    probabilities: npt.NDArray[np.float32] = np.load(paths[2])
    return probabilities

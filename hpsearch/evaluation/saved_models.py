"""TensorFlow SavedModels of exported models, made in a process of their own: only that imports a framework."""

import subprocess
from pathlib import Path

from hpsearch import settings
from hpsearch.errors import RefusedError, UsageError
from hpsearch.evaluation.model_card import Needs


def make_saved_models(directory: Path, needs: Needs) -> None:
    """Put a SavedModel beside each `.keras` file of a directory, at NAME/1, as TensorFlow Serving takes them.

    By TensorFlow whatever backend trained them, on the CPU.

    Raises:
        RefusedError: a model cannot be made one.
        UsageError: that would run the study's own code, which this host refuses.
    """
    if (needs.custom or needs.has_lambdas) and not settings.serves_own_code():
        raise UsageError("a SavedModel of models with code of their own is made by running it: HPSEARCH_CODE refuses")
    roots = [str(directory / root) for root in needs.roots]
    arguments = [str(directory), str(directory), "0" if needs.has_lambdas else "1", *roots]
    environment = {
        **settings.make_trainer_environment(None),
        settings.KERAS_BACKEND: "tensorflow",  # JAX would call TensorFlow for it anyway
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    ended = subprocess.run(
        settings.make_python_command("hpsearch.training.files.saved_model", *arguments),
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )
    if ended.returncode:
        lines = ended.stderr.split("\n")
        reason = next((line.strip() for line in reversed(lines) if line.strip()), f"exit {ended.returncode}")
        raise RefusedError(f"no SavedModel can be made ({reason}): nothing was exported")

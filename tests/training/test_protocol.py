"""protocol.py: what the trainer and its supervisor both import."""

import subprocess
import sys

import pytest

UNNEEDED = ("pydantic", "optuna", "sqlalchemy", "keras", "numpy")


@pytest.mark.parametrize("module", ["protocol", "process"])
def test_the_protocol_imports_no_library(module: str) -> None:
    """A trainer starts without what only its supervisor needs, and a supervisor without Keras."""
    script = f"import sys, hpsearch.training.{module}; print([name for name in {UNNEEDED} if name in sys.modules])"
    printed = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert printed == "[]\n"

"""registry.py: datasets and models are found by their files, without a framework."""

import subprocess
import sys
from pathlib import Path

from hpsearch import training
from hpsearch.spec import datasets, models
from hpsearch.spec.hyperparameters import make_model_table

FOLDER = Path(training.__file__).parent


def list_files(folder: str) -> set[str]:
    return {path.stem for path in (FOLDER / folder).glob("*.py")} - {"__init__"}


def test_a_file_is_a_dataset() -> None:
    """Each file of training/datasets describes the dataset of its name."""
    assert set(datasets.list_datasets()) == list_files("datasets")


def test_a_file_is_a_model() -> None:
    """Each file of training/models describes the model of its name; its table has its rows in the order of places."""
    assert set(models.list_models()) == list_files("models")
    for name, model in models.list_models().items():
        table = make_model_table(name)
        assert set(model.rows) < set(table.rows)
        assert len(table) == len({row.place for row in table.rows}) == len(table.rows)


def test_reading_a_study_imports_no_framework() -> None:
    """The command line reads a study in less time than Keras or numpy take to load."""
    script = (
        "import sys; from hpsearch.spec import loader; loader.load(None); "
        "print([name for name in ('keras', 'tensorflow', 'jax', 'numpy', 'sklearn', 'optuna') if name in sys.modules])"
    )
    printed = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert printed == "[]\n"

"""user/code.py: functions of the user's own, imported from their directory alone, and their errors."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from hpsearch.errors import UserCodeError
from hpsearch.training.user import code

Write = Callable[[dict[str, str]], Path]


@pytest.fixture(autouse=True)
def _process() -> Iterator[None]:
    """Leave this process as it was: a trainer imports the code of one study only."""
    path, bytecode, modules = list(sys.path), sys.dont_write_bytecode, set(sys.modules)
    yield
    sys.path[:], sys.dont_write_bytecode = path, bytecode
    code._directories.clear()
    for name in set(sys.modules) - modules:
        del sys.modules[name]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Write a study's own files, and return their directory."""

    def write(files: dict[str, str]) -> Path:
        for name, content in files.items():
            path = tmp_path / "code" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content)
        return tmp_path / "code"

    return write


def catch(call: Callable[[], object]) -> Exception:
    """Return what `call` raises."""
    try:
        call()
    except Exception as error:  # noqa: BLE001 - whatever it is
        return error
    raise AssertionError("it raises nothing")


def test_a_function_comes_from_the_studys_directory(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the modules beside it; the directory in which the worker runs has no part in it."""
    directory = write(
        {"my_model.py": "import helper\ndef build(): return helper.NAME\n", "helper.py": "NAME = 'ours'\n"}
    )
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    for name in ("my_model", "helper", "stray"):
        (elsewhere / f"{name}.py").write_text("NAME = 'theirs'\ndef build(): return NAME\n")
    monkeypatch.chdir(elsewhere)
    monkeypatch.syspath_prepend(str(elsewhere))
    assert code.load_function(directory, "my_model.py:build")() == "ours"
    write({"other.py": "import stray\n"})
    with pytest.raises(UserCodeError, match="No module named 'stray'"):
        code.load_function(directory, "other.py:build")
    assert not list(directory.rglob("*.pyc"))


def test_a_function_in_a_package_or_above_the_study_file(write: Write) -> None:
    """Relative imports work, and `..` leads to where the archive has the file."""
    directory = write(
        {
            "pkg/__init__.py": "",
            "pkg/nets/__init__.py": "",
            "pkg/nets/model.py": "from ..parts import part\ndef build(): return part\n",
            "pkg/parts.py": "part = 1\n",
            "models/flat.py": "import flat_parts\ndef build(): return flat_parts.part\n",
            "models/flat_parts.py": "part = 2\n",
            "studies/study.toml": "",
        }
    )
    assert code.load_function(directory, "pkg/nets/model.py:build")() == 1
    assert code.load_function(directory / "studies", "../models/flat.py:build")() == 2


def test_a_study_file_within_its_package_shadows_nothing(write: Write) -> None:
    """A module of the package keeps its long name, whatever it is called."""
    directory = write(
        {
            "pkg/__init__.py": "",
            "pkg/my_model.py": "from .types import kind\ndef build(): return kind\n",
            "pkg/types.py": "kind = 1\n",
        }
    )
    assert code.load_function(directory / "pkg", "my_model.py:build")() == 1


@pytest.mark.parametrize("name", ["numpy", "json"])
def test_a_file_with_the_name_of_a_loaded_module_is_refused(write: Write, name: str) -> None:
    """It would be passed over, or passed off as that module."""
    __import__(name)
    directory = write({f"{name}.py": "def build(): ...\n", "my_model.py": "def build(): ...\n"})
    for reference in (f"{name}.py:build", "my_model.py:build"):
        with pytest.raises(UserCodeError, match=f"{name}.py has the name of the installed module {name}: rename it"):
            code.load_function(directory, reference)


def test_an_error_while_importing_is_one_line_with_the_users_lines(write: Write) -> None:
    """The traceback is cut to their files, and begins at them."""
    directory = write(
        {"my_model.py": "import helper\n", "helper.py": "x = 1\n\nraise RuntimeError('it is\\nbroken')\n"}
    )
    error = catch(lambda: code.load_function(directory, "my_model.py:build"))
    assert isinstance(error, UserCodeError)
    assert str(error) == "my_model.py cannot be imported: RuntimeError: it is broken"
    assert error.traceback.splitlines() == [
        "Traceback (most recent call last):",
        '  File "my_model.py", line 1, in <module>',
        "    import helper",
        '  File "helper.py", line 3, in <module>',
        "    raise RuntimeError('it is\\nbroken')",
        "RuntimeError: it is",
        "broken",
    ]


def test_leaving_while_importing_is_an_error_too(write: Write) -> None:
    """`sys.exit()` in a script without a main function ends no trainer."""
    directory = write({"my_model.py": "import sys\nsys.exit(3)\n", "none.py": "build = 3\n"})
    with pytest.raises(UserCodeError, match=r"my_model.py cannot be imported: SystemExit: 3"):
        code.load_function(directory, "my_model.py:build")
    with pytest.raises(UserCodeError, match=r"none.py has no function build"):
        code.load_function(directory, "none.py:build")
    with pytest.raises(UserCodeError, match=r"none.py defines no load"):
        code.load_function(directory, "none.py:load")


def test_a_traceback_ends_with_the_line_that_raised(write: Write) -> None:
    """In whichever package it is; what lies between theirs and it, and ours, is left out."""
    source = "import numpy\ndef build():\n    try:\n        1 / 0\n    finally:\n        numpy.pad([1], -1)\n"
    directory = write({"my_model.py": source})
    error = catch(code.load_function(directory, "my_model.py:build"))
    assert code.is_in_user_code(error)
    lines = [line.strip() for line in code.format_user_traceback(error, directory).splitlines()]
    files = [line for line in lines if line.startswith("File ")]
    assert files[:2] == ['File "my_model.py", line 4, in build', 'File "my_model.py", line 6, in build']
    assert len(files) == 3
    assert files[2].startswith('File "numpy/')
    assert lines[-1].startswith("ValueError: ")
    assert not code.is_in_user_code(catch(lambda: 1 / 0))

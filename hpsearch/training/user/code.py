"""Import a function of the user's own, and show an error of it as they would see it in their files."""

import importlib
import os
import sys
import textwrap
import traceback
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from hpsearch.errors import UserCodeError
from hpsearch.formatting import strip_escapes
from hpsearch.spec.code.imports import list_import_roots, name_module

OURS = Path(__file__).parents[2]
"""The directory of this package."""

_directories: list[Path] = []
"""From where the user's modules are imported in this process, as `sys.path` has them."""


def load_function(code: Path, reference: str) -> Callable[..., Any]:
    """Return the function of the user's own that `reference` names.

    Its file is imported once in a process, which therefore runs the code of one study only.

    Args:
        code: the directory with the study's own files, from which the path in `reference` counts.
        reference: such as `my_model.py:build`.

    Raises:
        UserCodeError: it cannot be imported, or is no function.
    """
    path, _, name = reference.rpartition(":")
    code = code.resolve()
    module = _import(Path(os.path.normpath(code / path)), code, path)
    function = getattr(module, name, None)
    if not callable(function):
        what = "defines no" if function is None else "has no function"
        raise UserCodeError(f"{path} {what} {name}: the study file names it")
    return function  # type: ignore[no-any-return]  # whatever it returns


def describe_error(error: BaseException) -> str:
    """Return an error in one line of at most 300 characters."""
    message = strip_escapes(str(error)).strip()
    return textwrap.shorten(f"{type(error).__name__}: {message}" if message else type(error).__name__, 300)


def is_in_user_code(error: BaseException) -> bool:
    """Return whether the user's code was running when `error` was raised, or an error that led to it."""
    return any(_is_own(frame.filename) for part in _list_chain(_capture(error)) for frame in part.stack)


def explain_error(error: BaseException, code: Path) -> UserCodeError:
    """Return an error of the user's code as they are told of it, in whichever command or trial it is raised.

    Its line begins with their file and line where their code was running; its traceback is cut to their files.
    """
    line = str(error) if isinstance(error, UserCodeError) else describe_error(error)
    if isinstance(error, UserCodeError) and error.traceback:
        return error
    for part in _list_chain(_capture(error)):
        own = [frame for frame in part.stack if _is_own(frame.filename)]
        if own:
            line = f"{os.path.relpath(own[-1].filename, code)}, line {own[-1].lineno}: {line}"
            return UserCodeError(line, format_user_traceback(error, code))
    return UserCodeError(line)


def format_user_traceback(error: BaseException, code: Path) -> str:
    """Return the traceback of an error, cut to the user's files and the line that raised it, unless that is ours.

    Paths are relative to `code`, or to the directory of the package that raised it.
    """
    captured = _capture(error)
    for part in _list_chain(captured):
        last = len(part.stack) - 1
        kept = [
            _shorten(frame, code)
            for place, frame in enumerate(part.stack)
            if _is_own(frame.filename) or (place == last and not Path(frame.filename).is_relative_to(OURS))
        ]
        part.stack = traceback.StackSummary.from_list(kept)
    text = "".join(captured.format())
    if isinstance(error, UserCodeError):  # its line is shown above
        text = text.removesuffix("".join(captured.format_exception_only()))
    return strip_escapes(text)


def _import(file: Path, code: Path, path: str) -> ModuleType:
    roots = list_import_roots(file, code)
    _put_first(roots)
    _refuse_loaded(roots)
    try:
        module = importlib.import_module(name_module(file, roots[0]))
    except (Exception, SystemExit) as error:  # noqa: BLE001 - theirs may raise anything
        raise UserCodeError(
            f"{path} cannot be imported: {describe_error(error)}", format_user_traceback(error, code)
        ) from None
    if module.__file__ is None or Path(module.__file__) != file:
        raise UserCodeError(f"{path} has the name of a module that is imported already, {module.__file__}: rename it")
    return module


def _put_first(roots: Sequence[Path]) -> None:
    """Let modules be found in the user's directories before all others, and not in the one the worker runs in."""
    sys.dont_write_bytecode = True  # with a cache elsewhere, it would stay when the files are removed
    _directories.extend(root for root in roots if root not in _directories)
    own = [str(root) for root in _directories]
    sys.path[:] = [*own, *(entry for entry in sys.path if entry and entry not in own and entry != str(Path.cwd()))]
    importlib.invalidate_caches()


def _refuse_loaded(roots: Sequence[Path]) -> None:
    """Raise UserCodeError where a file's name is that of a module that this process has loaded from elsewhere."""
    for path in sorted(path for root in roots for path in root.iterdir()):
        loaded = sys.modules.get(path.stem)
        if loaded is None or not (path.suffix == ".py" or (path / "__init__.py").is_file()):
            continue
        if not _is_own(getattr(loaded, "__file__", None) or ""):
            raise UserCodeError(f"{path.name} has the name of the installed module {path.stem}: rename it")


def _capture(error: BaseException) -> traceback.TracebackException:
    return traceback.TracebackException.from_exception(error)


def _list_chain(captured: traceback.TracebackException | None) -> Iterator[traceback.TracebackException]:
    if captured is not None:
        yield captured
        yield from _list_chain(captured.__cause__)
        yield from _list_chain(captured.__context__)
        for part in getattr(captured, "exceptions", None) or ():
            yield from _list_chain(part)


def _is_own(file: str) -> bool:
    """Return whether a file is one of the user's."""
    return any(Path(file).is_relative_to(directory) for directory in _directories)


def _shorten(frame: traceback.FrameSummary, code: Path) -> traceback.FrameSummary:
    places = (
        [code] if _is_own(frame.filename) else [Path(entry) for entry in sys.path if frame.filename.startswith(entry)]
    )
    if places:
        frame.filename = os.path.relpath(frame.filename, max(places, key=lambda place: len(place.parts)))
    return frame

"""A study file for a builder of the user's own, whose space is what dry builds ask for."""

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from hpsearch.errors import StudyFileError, UsageError
from hpsearch.spec import loader
from hpsearch.spec.dimension import to_fraction
from hpsearch.spec.rows import Value
from hpsearch.training.protocol import Explore
from hpsearch.training.requests import make_data_request, make_model_request
from hpsearch.training.user.declarations import Asked, Declaration, Explored
from hpsearch.worker.local.trainers import start_trainer
from hpsearch.worker.study_code import unpack_locally
from hpsearch.worker.trainer_process import TrainerDiedError

BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")


def draft(build: str, data: Mapping[str, Any], directory: Path) -> str:
    """Return the text of a study file that lies in `directory`.

    Args:
        build: `file.py:function`, the path from there.
        data: its `[data]`, empty for the default.
        directory: where the file will be.

    Raises:
        NotFoundError: the images cannot be used.
        UserCodeError: the builder fails, with its file and line, or takes too long.
        StudyFileError: the builder's file cannot be used, or it asks for what a study file cannot have.
        UsageError: the process died.
    """
    name = Path(build.rpartition(":")[0]).stem
    spec = loader.from_dict({"study": {"name": name}, "model": {"build": build}, "data": data}, directory=directory)
    with unpack_locally(spec.code) as code, start_trainer(None) as trainer:
        try:
            trainer.send(Explore(make_data_request(spec), make_model_request(spec), str(code)))
            *_, explored = trainer.receive(Explored)
        except TrainerDiedError as error:
            raise UsageError(f"{build} could not be built: {error}") from None
    assert isinstance(explored, Explored)
    text = render(name, build, data, explored)
    try:
        loader.from_toml(text, directory=directory)
    except StudyFileError as error:
        faults = [f"{fault} (as {build} asks for it: rename it there, or change its values)" for fault in error.faults]
        raise StudyFileError(faults) from None
    return text


def render(name: str, build: str, data: Mapping[str, Any], explored: Explored) -> str:
    """Return the text of the study file."""
    fixed, space = [], []
    for asked in explored.asked:
        entry = _render_space(asked)
        if entry is not None:
            space.append(f"{_quote_key(asked.declaration.name)} = {entry}")
        elif asked.declaration.method != "Fixed":
            fixed.append(f"{_quote_key(asked.declaration.name)} = {_format(asked.declaration.default)}")
    if not explored.is_compiled and "learning_rate" not in {asked.declaration.name for asked in explored.asked}:
        space.append("learning_rate = { low = 1e-4, high = 1e-1, log = true }")
    training = "compiles its model, so that its own optimizer and loss train it" if explored.is_compiled else None
    lines = [f"# Written by hpsearch init: [space] is what {build} asks for.", "", "[study]", f"name = {_format(name)}"]
    lines += ["", "[budget]", "trials = 100", "epochs = 30"]
    if data:
        lines += ["", "[data]", *(f"{key} = {_format(value)}" for key, value in data.items())]
    lines += ["", "[model]", f"build = {_format(build)}" + (f"    # {training}" if training else "")]
    if fixed:
        lines += ["", "[fixed]", *fixed]
    return "\n".join([*lines, "", "[space]", *space, ""])


def _render_space(asked: Asked) -> str | None:
    """Return the entry of `[space]`; None where there is one value only."""
    declaration = asked.declaration
    values = list(asked.listed) if asked.listed and declaration.low is not None else _list_values(declaration)
    if declaration.method == "Fixed" or (values is not None and len(values) < 2) or declaration.is_constant:
        return None
    when = ""
    if asked.when:
        parents = (f"{_quote_key(parent)} = {_format(list(of))}" for parent, of in asked.when.items())
        when = f", when = {{ {', '.join(parents)} }}"
    if values is not None:
        return f"{{ choices = {_format(values)}{when} }}" if when else _format(values)
    return f"{{ {', '.join(_list_bounds(declaration))}{when} }}"


def _list_values(declaration: Declaration) -> list[Value] | None:
    """Return the values of what is no range: a choice, or numbers each a multiple of the one before."""
    if declaration.method == "Boolean":
        return [True, False]
    if declaration.method == "Choice":
        return list(dict.fromkeys(declaration.values))
    return declaration.list_multiples()


def _list_bounds(declaration: Declaration) -> Iterator[str]:
    low, high, step = declaration.low, declaration.high, declaration.step
    assert low is not None
    assert high is not None
    if step and (rest := (to_fraction(high) - to_fraction(low)) % to_fraction(step)):
        high = type(high)(to_fraction(high) - rest)  # the last value that KerasTuner would sample
    yield f"low = {_format(low)}"
    yield f"high = {_format(high)}"
    if step and not (declaration.method == "Int" and step == 1):
        yield f"step = {_format(step)}"
    if declaration.sampling == "log":
        yield "log = true"


def _quote_key(key: str) -> str:
    return key if BARE_KEY.fullmatch(key) else json.dumps(key)


def _format(value: Any) -> str:
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_format, value))}]"
    return json.dumps(value) if isinstance(value, bool | str) else repr(value)

"""What is wrong with a study file, one line a fault: `field: what is wrong, what would be right`.

Pydantic collects the errors of all sections. Each `Section` puts its own into the words of its fields' descriptions;
rules across fields raise `make_error` with whole lines.
"""

from collections.abc import Container, Iterable, Mapping, Sequence
from difflib import get_close_matches
from types import MappingProxyType
from typing import Any, Self, TypeVar

from pydantic import BaseModel, ConfigDict, ModelWrapValidatorHandler, ValidationError, model_validator
from pydantic_core import ErrorDetails, InitErrorDetails, PydanticCustomError

from hpsearch.formatting import format_toml, list_some
from hpsearch.spec.rows import LONGEST_NAME, find_spelling

WHOLE = "whole"
"""The type of an error whose line begins with the full name of the field."""
RELATIVE = "relative"
"""The type of an error whose line begins with the name of the field within its section."""

MESSAGES = {
    "int_type": "is not a whole number",
    "float_type": "is not a number",
    "finite_number": "is not finite",
    "string_type": "is not a string",
    "bool_type": "is not true or false",
    "list_type": "is not a list",
    "dict_type": "is not a table",
    "greater_than": "is out of bounds: above {gt}",
    "greater_than_equal": "is out of bounds: {ge} or more",
    "less_than_equal": "is out of bounds: {le} or less",
    "literal_error": "is unknown: one of {expected}",
    "value_error": "{error}",
}
"""What is said for each of pydantic's types of error."""


ALIASES: Mapping[str, str] = MappingProxyType(
    {
        "lr": "learning_rate",
        "bs": "batch_size",
        "wd": "weight_decay",
        "batchnorm": "batch_norm",
        "dropout_rate": "dropout",
        "opt": "optimizer",
        "n_trials": "trials",
        "num_trials": "trials",
        "max_trials": "trials",
        "n_epochs": "epochs",
        "num_epochs": "epochs",
        "max_epochs": "epochs",
        "timeout": "hours",
        "max_hours": "hours",
        "n_repeats": "repeats",
        "random_state": "seed",
        "random_seed": "seed",
        "cma_es": "cmaes",
        "gaussian_process": "gp",
        "successive_halving": "asha",
    }
)
"""What other libraries call some of our names."""

SIMILAR = 0.75
"""The ratio of difflib from which on two words differ by a typing error: `trails` and `trials` have 0.83."""
SHORTEST_BEGINNING = 4
"""Letters that are enough of a name's beginning."""
NAMES_LISTED = 10
"""How many names are listed of those that are known."""


class Section(BaseModel):
    """A table of the study file: nothing is coerced, an unknown key is a fault."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    @classmethod
    def list_keys(cls) -> list[str]:
        """Return the keys that a user can set."""
        return list(cls.model_fields)

    @model_validator(mode="wrap")
    @classmethod
    def _describe_errors(cls, raw: object, handler: ModelWrapValidatorHandler[Self]) -> Self:
        try:
            return handler(raw)
        except ValidationError as invalid:
            errors = invalid.errors(include_url=False)
            whole = [error["ctx"]["line"] for error in errors if error["type"] == WHOLE]
            relative = [_describe(cls, error) for error in errors if error["type"] != WHOLE]
            raise _combine([*((WHOLE, line) for line in whole), *((RELATIVE, line) for line in relative)]) from None


class MethodConfig(Section):
    """A sampler or pruner: the section's `name` selects which options there are."""

    name: str

    @classmethod
    def list_keys(cls) -> list[str]:
        """Return the options' names."""
        return [key for key in cls.model_fields if key != "name"]

    @property
    def options(self) -> dict[str, Any]:
        """Every option that has a value."""
        return self.model_dump(exclude={"name"}, exclude_none=True)


S = TypeVar("S", bound=Section)
C = TypeVar("C", bound=MethodConfig)


def make_error(lines: Iterable[str]) -> ValidationError:
    """Return the error of a validation that fails with `lines`, each a whole fault."""
    return _combine((WHOLE, line) for line in lines)


def refuse(lines: Iterable[str]) -> None:
    """Fail the validation where there are `lines`, each a whole fault.

    Raises:
        ValidationError: with an error a line.
    """
    faults = list(lines)
    if faults:
        raise make_error(faults)


def list_faults(invalid: ValidationError, section: str) -> list[str]:
    """Return a line for each error that a `Section`, which the file has under the name `section`, was refused with."""
    return [describe_error(error, section) for error in invalid.errors(include_url=False)]


def describe_error(error: ErrorDetails, section: str) -> str:
    """Return the line for an error of a `Section` or of `refuse`."""
    line: str = error["ctx"]["line"]
    return line if error["type"] == WHOLE else f"{section}.{line}"


def describe_unknown(word: str, known: Iterable[str]) -> str:
    """Return `unknown: did you mean ...`, or what is known where nothing is known to be meant by `word`."""
    names = list(known)
    meant = _find_meant(word, names)
    if meant is not None:
        return f"unknown: did you mean {meant}?"
    return f"unknown: one of {list_some(names, NAMES_LISTED)}" if names else "unknown: nothing can be set here"


def _find_meant(word: str, names: Sequence[str]) -> str | None:
    """Return the name that is `word` but for a typing error, or for what others call it; None where none is."""
    spelled = find_spelling(ALIASES.get(word.lower(), word), names)
    if spelled is not None:
        return spelled
    begun = [name for name in names if len(word) >= SHORTEST_BEGINNING and name.startswith(word)]
    similar = begun if len(begun) == 1 else get_close_matches(word[:LONGEST_NAME], names, n=1, cutoff=SIMILAR)
    return similar[0] if similar else None


def index_by_name(*models: type[C]) -> dict[str, type[C]]:
    """Return the configs of a union by the name that selects each."""
    return {model.model_fields["name"].default: model for model in models}


def add_default_name(raw: Mapping[str, Any], field: str, models: Mapping[str, type[C]], default: C) -> dict[str, Any]:
    """Return the section of a sampler or pruner with its name; without one it changes options of the default.

    Raises:
        ValidationError: the name is none of `models`.
    """
    options = {**default.model_dump(), **raw} if "name" not in raw else dict(raw)
    name = options["name"]
    if not isinstance(name, str) or name not in models:
        raise make_error([f"{field}.name: {name!r} is {describe_unknown(str(name), models)}"])
    return options


def read_stored(model: type[S], stored: Mapping[str, Any]) -> S:
    """Return `stored` as `model`, as this version or an older one wrote it: absent keys take their defaults.

    Raises:
        ValidationError: a newer version wrote it, with a key that this one does not know, or a value out of its bounds.
    """
    require_known(stored, model.model_fields)
    return model.model_validate({key: value for key, value in stored.items() if key in model.model_fields})


def require_known(stored: Mapping[str, Any], known: Container[str]) -> None:
    """Refuse keys that only a newer version has; one that is not set means nothing to it either.

    Raises:
        ValidationError: there are some.
    """
    refuse(f"{key}: unknown" for key, value in stored.items() if key not in known and value is not None)


def read_stored_method(stored: Mapping[str, Any], models: Mapping[str, type[C]], default: C) -> C:
    """Return a sampler or pruner as `StudySpec.to_json` wrote it; `default` where nothing is stored.

    Raises:
        KeyError: there is none of that name.
        ValidationError: see `read_stored`.
    """
    require_known(stored, ("name", "options"))
    name, options = stored.get("name", default.name), stored.get("options", {} if stored else default.options)
    return read_stored(models[name], options)


def _combine(lines: Iterable[tuple[str, str]]) -> ValidationError:
    """Return an error that holds a line a fault, each with its type."""
    # The line travels as a value: as the template, its braces would be filled in.
    errors: list[InitErrorDetails] = [
        {"type": PydanticCustomError(kind, "{line}", {"line": line}), "input": None} for kind, line in lines
    ]
    return ValidationError.from_exception_data("study file", errors)


def _describe(model: type[Section], error: ErrorDetails) -> str:
    key = str(error["loc"][0]) if error["loc"] else ""
    field = ".".join(map(str, error["loc"]))
    if error["type"] == "extra_forbidden":
        return f"{field}: {describe_unknown(key, model.list_keys())}"
    if error["type"] == "missing":
        return f"{field}: missing: {_read_meaning(model, key)}"
    message = MESSAGES.get(error["type"])
    if message is None:
        return f"{field}: {format_toml(error['input'])}: {error['msg']}"
    bounds = {key: f"{value:g}" if isinstance(value, float) else value for key, value in error.get("ctx", {}).items()}
    wrong = message.format(**bounds)
    remedy = "" if ":" in wrong else f": {_read_meaning(model, key)}"
    return f"{field}: {format_toml(error['input'])} {wrong}{remedy}"


def _read_meaning(model: type[Section], key: str) -> str:
    info = model.model_fields.get(key)
    meaning = (info.description if info else None) or "see the reference of the study file"
    return meaning[0].lower() + meaning[1:].rstrip(".")

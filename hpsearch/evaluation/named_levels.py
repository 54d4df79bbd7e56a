"""The levels that `hpsearch ablate --levels` names, checked against the space of the study."""

import tomllib
from collections.abc import Mapping, Sequence

from hpsearch.errors import UsageError
from hpsearch.formatting import format_toml, make_printable
from hpsearch.spec.rows import Value
from hpsearch.spec.study_spec import StudySpec
from hpsearch.spec.validation import describe_unknown


def parse_levels(
    spec: StudySpec, best: Mapping[str, Value], trial: int, named: Sequence[str]
) -> dict[str, Sequence[Value]]:
    """Return the values to try by hyperparameter.

    Args:
        spec: of the search.
        best: the parameters of the trial that is ablated.
        trial: its number.
        named: `NAME=VALUE,VALUE` each.

    Raises:
        UsageError: the space has no such value, or the trial no such hyperparameter.
    """
    levels: dict[str, list[Value]] = {}
    for entry in named:
        name, equals, values = (part.strip() for part in entry.partition("="))
        if not equals or not name or not all(value.strip() for value in values.split(",")):
            raise _refuse(f"{entry}: write NAME=VALUE or NAME=VALUE,VALUE, such as dropout=0,0.5")
        if name not in spec.space:
            raise _refuse(
                f"{name}: " + ("is not searched" if name in spec.table else describe_unknown(name, spec.space))
            )
        if name not in best:
            raise _refuse(f"{name}: is not active in trial {trial}, so that no level of it can be compared")
        levels.setdefault(name, []).extend(_read_value(spec, name, value) for value in values.split(","))
    return dict(levels)


def _read_value(spec: StudySpec, name: str, written: str) -> Value:
    row, written = spec.table[name], written.strip()
    value: object
    if "#" in written or not written.isprintable():
        raise _refuse(f"{name}: {written[:40]} is no value")
    try:
        value = tomllib.loads(f"value = {written}")["value"]
    except (ValueError, RecursionError):  # it is no TOML, or a number or a nesting longer than Python takes
        value = {"on": True, "off": False}.get(written, written) if row.kind is bool else written
    if fault := row.find_fault(value):
        raise _refuse(f"{name}: {fault}")
    assert isinstance(value, bool | int | float | str)
    level = row.cast(value)
    if not spec.space[name].contains(level):
        raise _refuse(f"{name}: {format_toml(level)} is outside the space: {spec.space[name]}")
    return level


def _refuse(fault: str) -> UsageError:
    return UsageError(make_printable(f"--levels {fault}"))

"""`[[baseline]]`: the parameters a study tries first."""

from collections.abc import Iterator, Mapping
from typing import Any

from hpsearch.formatting import format_toml
from hpsearch.spec import search_space
from hpsearch.spec.dimension import Dimension
from hpsearch.spec.hyperparameters import HyperparameterTable
from hpsearch.spec.rows import Value
from hpsearch.spec.validation import describe_unknown, make_error, refuse


def parse_baselines(
    raw: object, fixed: Mapping[str, Value], space: Mapping[str, Dimension], table: HyperparameterTable
) -> tuple[dict[str, Value], ...]:
    """Return each baseline with every searched hyperparameter that is active in it.

    Raises:
        ValidationError: with every fault.
    """
    if not isinstance(raw, list) or not all(isinstance(entry, dict) for entry in raw):
        raise make_error([f"baseline: {format_toml(raw)} is not a list of tables: write [[baseline]] above each"])
    faults: list[str] = []
    baselines: list[dict[str, Value]] = []
    for i, entry in enumerate(raw):
        field = f"baseline[{i}]"
        misnamed = list(_find_misnamed(entry, field, fixed, space, table))
        if misnamed:
            faults += misnamed
            continue
        given = {name: table[name].cast(value) for name, value in entry.items()}
        baseline = _select_active(table.fill_defaults({**fixed, **given}), space)
        baselines.append(baseline)
        faults += _find_outside(baseline, given, field, table.fill_defaults({**fixed, **given}), space)
    refuse(faults)
    return tuple(baselines)


def _find_misnamed(
    entry: Mapping[str, Any],
    field: str,
    fixed: Mapping[str, Value],
    space: Mapping[str, Dimension],
    table: HyperparameterTable,
) -> Iterator[str]:
    for name, value in entry.items():
        if name in space:
            if fault := table[name].find_fault(value):
                yield f"{field}.{name}: {fault}"
        elif name not in table:
            yield f"{field}.{name}: {describe_unknown(name, space)}"
        elif name in fixed:
            yield f"{field}.{name}: is fixed to {format_toml(fixed[name])}: drop it here or search it"
        else:
            yield f"{field}.{name}: is not searched: drop it here or add it to [space]"


def _select_active(values: Mapping[str, Value], space: Mapping[str, Dimension]) -> dict[str, Value]:
    active: dict[str, Value] = {}
    for name in search_space.order_names(space):
        if name in values and search_space.is_active(space, name, active):
            active[name] = values[name]
    return {name: active[name] for name in space if name in active}


def _find_outside(
    baseline: Mapping[str, Value],
    given: Mapping[str, Value],
    field: str,
    values: Mapping[str, Value],
    space: Mapping[str, Dimension],
) -> Iterator[str]:
    for name in search_space.order_names(space):
        if name not in baseline:
            if name in given:
                parents = [f"{parent} = {format_toml(values[parent])}" for parent in space[name].when or ()]
                yield f"{field}.{name}: is not searched with {' and '.join(parents)}: drop it here"
            elif search_space.is_active(space, name, baseline):
                yield f"{field}.{name}: missing: it has no default, so name a value"
        elif not space[name].contains(values[name]):
            which, remedy = ("", "") if name in given else ("the default ", ", name one")
            yield f"{field}.{name}: {which}{format_toml(values[name])} is outside the space: {space[name]}{remedy}"

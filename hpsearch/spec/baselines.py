"""`[[baseline]]`: the parameters a study tries first."""

from collections.abc import Iterator, Mapping
from typing import Any

from hpsearch.spec import search_space as spaces
from hpsearch.spec.dimension import Dimension
from hpsearch.spec.hyperparameters import TABLE, Value, fill_defaults
from hpsearch.spec.sections import BudgetSection, Method
from hpsearch.spec.validation import describe_unknown, format_toml


def parse(
    raw: object, fixed: Mapping[str, Value], space: Mapping[str, Dimension], faults: list[str]
) -> list[dict[str, Value]]:
    """Each baseline with every searched hyperparameter active in it; those with a fault are left out."""
    if not isinstance(raw, list) or not all(isinstance(entry, dict) for entry in raw):
        faults.append(f"baseline: {format_toml(raw)} is not a list of tables: write [[baseline]] above each")
        return []
    baselines = []
    for i, entry in enumerate(raw):
        found = list(_misnamed(entry, f"baseline[{i}]", fixed, space))
        if not found:
            baselines.append(_complete(entry, f"baseline[{i}]", fixed, space, found))
        faults += found
    return baselines


def check(count: int, budget: BudgetSection | None, sampler: Method | None) -> Iterator[str]:
    """Whether the study has room for `count` baselines."""
    if count and sampler and sampler.name == "grid":
        yield "baseline: a grid tries its own points only: drop [[baseline]] or choose another sampler"
    elif budget and count > budget.trials:
        yield f"baseline: {count} do not fit into budget.trials = {budget.trials}: drop some or raise it"


def _misnamed(
    entry: Mapping[str, Any], field: str, fixed: Mapping[str, Value], space: Mapping[str, Dimension]
) -> Iterator[str]:
    for name, value in entry.items():
        if name in space:
            if fault := TABLE[name].fault(value):
                yield f"{field}.{name}: {fault}"
        elif name not in TABLE:
            yield f"{field}.{name}: {describe_unknown(name, space)}"
        elif name in fixed:
            yield f"{field}.{name}: is fixed to {format_toml(fixed[name])}: drop it here or search it"
        else:
            yield f"{field}.{name}: is not searched: drop it here or add it to [space]"


def _complete(
    entry: Mapping[str, Value],
    field: str,
    fixed: Mapping[str, Value],
    space: Mapping[str, Dimension],
    faults: list[str],
) -> dict[str, Value]:
    given = {name: TABLE[name].cast(value) for name, value in entry.items()}
    values = fill_defaults({**fixed, **given})
    chosen: dict[str, Value] = {}
    for name in spaces.order_names(space):
        if not spaces.is_active(space, name, chosen):
            if name in given:
                parents = [f"{parent} = {format_toml(values[parent])}" for parent in space[name].when or ()]
                faults.append(f"{field}.{name}: is not searched with {' and '.join(parents)}: drop it here")
            continue
        chosen[name] = values[name]
        if not space[name].holds(values[name]):
            what = "" if name in given else "the default "
            remedy = "" if name in given else ", name one"
            faults.append(
                f"{field}.{name}: {what}{format_toml(values[name])} is outside the space: {space[name]}{remedy}"
            )
    return {name: chosen[name] for name in space if name in chosen}

"""The tables of docs/study-file.md, made of the code: `python -m hpsearch.spec.reference docs/study-file.md`."""

import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from pydantic_core import PydanticUndefined

from hpsearch.spec.datasets import list_datasets
from hpsearch.spec.models import list_models
from hpsearch.spec.rows import Hyperparameter
from hpsearch.spec.sections.data import DataSection
from hpsearch.spec.sections.model import ModelSection
from hpsearch.spec.sections.pruners import PRUNERS
from hpsearch.spec.sections.samplers import SAMPLERS
from hpsearch.spec.sections.study import BudgetSection, StudySection
from hpsearch.spec.training_rows import TRAINING_ROWS
from hpsearch.spec.validation import MethodConfig, Section

TABLE_BLOCK = re.compile(r"(<!-- table: (\w+) -->\n).*?(<!-- end of table -->)", re.DOTALL)


def make_tables() -> dict[str, str]:
    """Return each table in Markdown, by the name that its marker in the page has."""
    return {
        "study": _make_section_table(StudySection),
        "budget": _make_section_table(BudgetSection),
        "data": _make_section_table(DataSection),
        "model": _make_section_table(ModelSection),
        "datasets": _make_dataset_table(),
        **{group: _make_hyperparameter_table(rows) for group, rows in _group_training_rows().items()},
        **{model.name: _make_hyperparameter_table(model.rows) for model in list_models().values()},
        "samplers": _make_option_table(SAMPLERS),
        "pruners": _make_option_table(PRUNERS),
    }


def fill_tables(page: str) -> str:
    """Return `page` with every table between its markers as the code has it.

    Raises:
        KeyError: a marker names no table.
    """
    tables = make_tables()
    return TABLE_BLOCK.sub(lambda block: f"{block[1]}\n{tables[block[2]]}\n\n{block[3]}", page)


def _group_training_rows() -> dict[str, list[Hyperparameter]]:
    groups: dict[str, list[Hyperparameter]] = {}
    for row in TRAINING_ROWS:
        groups.setdefault(row.group, []).append(row)
    return groups


def _make_dataset_table() -> str:
    lines = ["| dataset | images | by default held out | image | classes |", "|---|---|---|---|---|"]
    for dataset in list_datasets().values():
        shape = "×".join(map(str, dataset.shape))
        lines.append(
            f"| `{dataset.name}` | {dataset.images:,} | {dataset.validation:,} | {shape} | {len(dataset.classes)} |"
        )
    return "\n".join(lines)


def _make_hyperparameter_table(rows: Sequence[Hyperparameter]) -> str:
    lines = ["| hyperparameter | values | default | meaning |", "|---|---|---|---|"]
    for row in sorted(rows, key=lambda row: row.place):
        values = f"whole number, {row.bounds}" if row.kind is int else row.bounds
        lines.append(f"| `{row.name}` | {values} | {_describe_default(row)} | {row.meaning} |")
    return "\n".join(lines)


def _describe_default(row: Hyperparameter) -> str:
    if row.default is None:
        return f"as `{row.default_from}`"
    others = (
        f"`{_format_default(default)}` where `{row.default_from} = {_format_default(value)}`"
        for value, default in row.defaults_by.items()
    )
    return "; ".join([f"`{_format_default(row.default)}`", *others])


def _make_section_table(model: type[Section]) -> str:
    return "\n".join(["| key | default | meaning |", "|---|---|---|", *_list_keys(model)])


def _make_option_table(models: Mapping[str, type[MethodConfig]]) -> str:
    lines = ["| name | option | default | meaning |", "|---|---|---|---|"]
    for name, model in models.items():
        lines += [f"| `{name}` {line}" for line in _list_keys(model)] or [f"| `{name}` | | | |"]
    return "\n".join(lines)


def _list_keys(model: type[Section]) -> list[str]:
    lines = []
    for key in model.list_keys():
        info = model.model_fields[key]
        required = info.default is PydanticUndefined
        default = "required" if required else "none" if info.default is None else f"`{_format_default(info.default)}`"
        lines.append(f"| `{key}` | {default} | {info.description} |")
    return lines


def _format_default(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return f'"{value}"' if isinstance(value, str) else repr(value)


if __name__ == "__main__":
    path = Path(sys.argv[1])
    path.write_text(fill_tables(path.read_text()))

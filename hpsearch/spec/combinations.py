"""Combinations of values that no trial can train with, found before one tries."""

import itertools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from hpsearch.spec.dimension import Choices, Dimension, list_with_parents
from hpsearch.spec.models import list_models
from hpsearch.spec.rows import Value
from hpsearch.spec.study_spec import StudySpec

FAULTS_NAMED = 5
"""How many of several combinations are named."""

CHANNELS = 3
"""Of images of the user's own, where no worker has loaded them: files become red, green and blue."""


@dataclass(frozen=True)
class Rule:
    """What cannot go together: `find_fault(hyperparameters, shape)` reads `rows`, which are at fault at their ends."""

    rows: tuple[str, ...]
    find_fault: Callable[[Mapping[str, Any], tuple[int, ...]], str | None]


def _find_schedule_fault(hyperparameters: Mapping[str, Any], shape: tuple[int, ...]) -> str | None:
    if hyperparameters["schedule"] != "exponential" or hyperparameters["final_rate"]:
        return None
    return 'schedule = "exponential" never reaches final_rate = 0.0: a final_rate above 0, or another schedule'


def _find_channels_fault(hyperparameters: Mapping[str, Any], shape: tuple[int, ...]) -> str | None:
    if not hyperparameters.get("randaugment") or shape[2] == CHANNELS:
        return None
    return f"images of {shape[2]} channel{'s' * (shape[2] != 1)} cannot have randaugment, which takes 3: leave it at 0"


TRAINING_RULES = (
    Rule(("final_rate", "schedule"), _find_schedule_fault),
    Rule(("randaugment",), _find_channels_fault),
)
"""Those of the rows in `training_rows`; a model's own is its `find_fault`."""


def find_faults(spec: StudySpec) -> Iterator[str]:
    """Yield a line for each combination that a trial can have and that cannot be trained; of many the first few.

    What depends on the size of images that nobody has loaded yet is left to the trainer.
    """
    height, width, channels = spec.image_shape
    if spec.data.image_size:
        height, width = spec.data.image_size
    shape = (height, width, channels or CHANNELS)
    rules = list(TRAINING_RULES)
    if spec.model.name is not None and height:
        model = list_models()[spec.model.name]
        rules.append(Rule(model.limited_by, model.find_fault))
    for rule in rules:
        faults = dict.fromkeys(
            fault for values in _combine(spec, rule.rows) if (fault := rule.find_fault(values, shape))
        )
        more = f" (and {len(faults) - FAULTS_NAMED} more likewise)" if len(faults) > FAULTS_NAMED else ""
        for fault in itertools.islice(faults, FAULTS_NAMED):
            yield f"{_name_field(spec, rule.rows)}: {fault}{more}"


def _combine(spec: StudySpec, rows: tuple[str, ...]) -> Iterator[dict[str, Value]]:
    """Yield every row's value for each combination of `rows`, and of what decides whether they are searched."""
    wanted = list_with_parents(spec.space, rows)
    names = [name for name in spec.searched if name in wanted]
    for values in itertools.product(*(_list_ends(spec.space[name]) for name in names)):
        yield spec.resolve_params(dict(zip(names, values, strict=True)))


def _list_ends(dimension: Dimension) -> tuple[Value, ...]:
    return dimension.values if isinstance(dimension, Choices) else (dimension.low, dimension.high)


def _name_field(spec: StudySpec, rows: tuple[str, ...]) -> str:
    """Return what of the study file a fault is about: the first of the rows that it writes."""
    searched = (f"space.{name}" for name in rows if name in spec.space)
    fixed = (f"fixed.{name}" for name in rows if name in spec.fixed)
    return next(itertools.chain(searched, fixed), "model")

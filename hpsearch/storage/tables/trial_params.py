"""Optuna's table of parameters, read without Optuna, whose import takes longer than all else that `status` does."""

import contextlib
import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from sqlalchemy import Connection, text


def read(connection: Connection, ids: Sequence[int]) -> Mapping[int, dict[str, Any]]:
    """Return the parameters of the trials `ids`, by the id, as the trials got them.

    One that another program stored in a form unknown here is left out.
    """
    params: dict[int, dict[str, Any]] = defaultdict(dict)
    rows = connection.execute(
        text(
            "select trial_id, param_name, param_value, distribution_json from trial_params "
            "where trial_id = any(:ids) order by param_id"
        ),
        {"ids": list(ids)},
    )
    for trial_id, name, value, distribution in rows:
        with contextlib.suppress(LookupError, OverflowError, TypeError, ValueError):
            params[trial_id][name] = _externalize(value, distribution)
    return params


def _externalize(value: float, distribution: str) -> Any:
    """Return a parameter as a trial got it.

    Raises:
        LookupError, OverflowError, TypeError, ValueError: the distribution has no such value, or cannot be read.
    """
    choices, whole = _distribution(distribution)
    return choices[int(value)] if choices else int(value) if whole else value


@lru_cache(maxsize=1024)
def _distribution(described: str) -> tuple[list[Any] | None, bool]:
    """Return the choices of a stored distribution, None where it is of numbers; and whether those are whole.

    Raises:
        ValueError: another version of Optuna stored it, in another form.
    """
    try:
        distribution = json.loads(described)
        return distribution["attributes"].get("choices"), distribution["name"].startswith("Int")
    except (AttributeError, KeyError, TypeError):
        raise ValueError("no distribution") from None

"""Patches of optuna-dashboard 0.21: faults that our studies meet, corrected where it looks the functions up.

`apply` is called before the dashboard is built; a second call changes nothing. Each patch says what it corrects, and
can go once a release of optuna-dashboard has corrected it.
"""

from collections.abc import Callable
from functools import cache, wraps
from typing import Any

import bottle
from optuna.trial import FrozenTrial
from optuna_dashboard import _app, _inmemory_cache, _serializer
from optuna_dashboard.artifact import _backend


@cache
def apply() -> None:
    """Apply every patch to the modules of optuna-dashboard, once in this process."""
    ignore_unsampled_trials()
    allow_studies_without_parameters()
    show_named_constraints()
    let_errors_through()


def ignore_unsampled_trials() -> None:
    """Leave waiting trials out of the search space that all trials share.

    They have no parameters yet, and the shared search space, which parallel coordinates show, is only ever narrowed:
    one waiting trial would empty it for good.
    """
    properties = _inmemory_cache._CachedExtraStudyProperty
    original = properties._update_search_space

    def update_search_space(self: Any, trial: FrozenTrial) -> None:
        if trial.distributions:
            original(self, trial)

    properties._update_search_space = update_search_space


def allow_studies_without_parameters() -> None:
    """Return no importance where no hyperparameter is searched: the dashboard would divide by their number."""
    original = _app.get_param_importance_from_trials_cache

    def get_importance(cache: Any, storage: Any, study_id: int, objective: int, trials: list[FrozenTrial]) -> Any:
        searched = any(trial.distributions for trial in trials)
        return original(cache, storage, study_id, objective, trials) if searched else []

    _app.get_param_importance_from_trials_cache = get_importance


def show_named_constraints() -> None:
    """Serve the constraints of Optuna 5, which have names: the dashboard reads the older, nameless ones only."""
    original = _serializer.serialize_frozen_trial

    def serialize_trial(study_id: int, trial: FrozenTrial, attributes: dict[str, Any]) -> dict[str, Any]:
        served: dict[str, Any] = original(study_id, trial, attributes)
        return {**served, "constraints": served["constraints"] or list(trial.constraints.values())}

    _serializer.serialize_frozen_trial = serialize_trial


def let_errors_through() -> None:
    """Leave what a view raises to `request_checks`: the dashboard answers 500 to all of it, and logs a traceback."""
    _app.json_api_view = _backend.json_api_view = _serve_json


def _serve_json(view: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(view)
    def serve(**arguments: Any) -> Any:
        bottle.response.content_type = "application/json"
        return view(**arguments)

    return serve

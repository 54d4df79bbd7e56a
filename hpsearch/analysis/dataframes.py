"""A study's trials and epochs as pandas tables, for notebooks, plots and the report."""

from collections.abc import Iterable, Sequence

import pandas as pd

from hpsearch.metrics import EpochMetrics
from hpsearch.storage.results import Trial

TRIAL_COLUMNS = (
    "number",
    "state",
    "outcome",
    "value",
    "is_foreign",
    "best_epoch",
    "attempts",
    "worker",
    "seconds",
    "weights",
    "began",
    "ended",
)
EPOCH_COLUMNS = tuple(EpochMetrics.__dataclass_fields__)


def build_trial_frame(trials: Sequence[Trial]) -> pd.DataFrame:
    """Return a row for each trial, indexed by its number.

    Columns: `TRIAL_COLUMNS`, `device` of the last attempt, `epochs` finished, `seconds_per_epoch` (the mean over them),
    then a column for each searched hyperparameter, None or NaN where it was inactive.
    """
    names = list(dict.fromkeys(name for trial in trials for name in trial.params))
    rows = [{**_make_row(trial), **{name: trial.params.get(name) for name in names}} for trial in trials]
    columns = [*TRIAL_COLUMNS, "device", "epochs", "seconds_per_epoch", *names]
    return pd.DataFrame(rows, columns=columns).set_index("number", drop=False)


def build_epoch_frame(trials: Iterable[Trial]) -> pd.DataFrame:
    """Return a row for each epoch: the `trial`'s number, then the fields of `EpochMetrics`."""
    rows = [(trial.number, *vars(epoch).values()) for trial in trials for epoch in trial.epochs]
    return pd.DataFrame(rows, columns=["trial", *EPOCH_COLUMNS])


def _make_row(trial: Trial) -> dict[str, object]:
    seconds = [epoch.seconds for epoch in trial.epochs]
    return {
        **{name: getattr(trial, name) for name in TRIAL_COLUMNS},
        "device": trial.history[-1].device if trial.history else None,
        "epochs": len(trial.epochs),
        "seconds_per_epoch": sum(seconds) / len(seconds) if seconds else None,
    }

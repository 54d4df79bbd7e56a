"""A study's trials and epochs as pandas tables, for notebooks, plots and the report."""

from collections.abc import Iterable

import pandas as pd

from hpsearch.metrics import EpochMetrics
from hpsearch.storage.results import Trial

TRIAL = (
    "number",
    "state",
    "outcome",
    "value",
    "best_epoch",
    "attempts",
    "worker",
    "seconds",
    "weights",
    "began",
    "ended",
)
EPOCH = tuple(EpochMetrics.__dataclass_fields__)


def build_trial_frame(found: Iterable[Trial]) -> pd.DataFrame:
    """A row a trial, indexed by its number.

    Columns: those of `Trial` that are plain, `device` of the last attempt, `epochs` finished, `seconds_per_epoch` (the
    mean over them), then a column for each searched hyperparameter, None or NaN where it was inactive.
    """
    found = list(found)
    names = list(dict.fromkeys(name for trial in found for name in trial.params))
    rows = [{**_plain(trial), **{name: trial.params.get(name) for name in names}} for trial in found]
    columns = [*TRIAL, "device", "epochs", "seconds_per_epoch", *names]
    return pd.DataFrame(rows, columns=columns).set_index("number", drop=False)


def build_epoch_frame(found: Iterable[Trial]) -> pd.DataFrame:
    """A row an epoch: the `trial`'s number, then the fields of `EpochMetrics`."""
    rows = [(trial.number, *vars(epoch).values()) for trial in found for epoch in trial.epochs]
    return pd.DataFrame(rows, columns=["trial", *EPOCH])


def _plain(trial: Trial) -> dict[str, object]:
    seconds = [epoch.seconds for epoch in trial.epochs]
    return {
        **{name: getattr(trial, name) for name in TRIAL},
        "device": trial.history[-1].device if trial.history else None,
        "epochs": len(trial.epochs),
        "seconds_per_epoch": sum(seconds) / len(seconds) if seconds else None,
    }

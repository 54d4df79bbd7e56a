"""`[study]` and `[budget]`: what is asked, and what it may cost."""

from typing import Annotated

from pydantic import Field, field_validator

from hpsearch.formatting import join_words
from hpsearch.metrics import METRICS, Direction
from hpsearch.spec.sections.samplers import INT32
from hpsearch.spec.validation import Section

Count = Annotated[int, Field(ge=1, le=INT32)]
Real = Annotated[float, Field(allow_inf_nan=False)]


def _describe_metrics() -> str:
    names = {
        direction: join_words([metric.name for metric in METRICS.values() if metric.direction is direction], "or")
        for direction in Direction
    }
    return f"the highest {names[Direction.MAXIMIZE]}, or the lowest {names[Direction.MINIMIZE]}"


class StudySection(Section):
    """`[study]`."""

    name: str = Field(description="A name for the study (or give --name).")
    description: str = Field("", description="The question the study asks.")
    seed: int = Field(0, ge=0, le=2**32 - 1, description="Seed of the split, the sampler and every training.")
    priority: int = Field(0, ge=-INT32, le=INT32, description="Workers serve the running study with the highest.")
    metric: str = Field("val_accuracy", description=f"What to optimize: {_describe_metrics()}.")
    keep_models: int = Field(5, ge=0, le=INT32, description="How many of the best trials keep their model.")

    @field_validator("name")
    @classmethod
    def _require_printable(cls, name: str) -> str:
        if not name.strip():
            raise ValueError("is empty: give the study a name")
        # 512 is the width of Optuna's column.
        if len(name) > 512:
            raise ValueError(f"is too long: {len(name)} characters, at most 512")
        if not name.isprintable():
            raise ValueError("is not printable: leave out line breaks and control characters")
        return name

    @field_validator("metric")
    @classmethod
    def _require_known_metric(cls, metric: str) -> str:
        if metric not in METRICS:
            raise ValueError(f"is unknown: one of {join_words([repr(name) for name in METRICS], 'or')}")
        return metric

    @field_validator("description")
    @classmethod
    def _require_storable(cls, description: str) -> str:
        if "\0" in description:
            raise ValueError("holds a null character: Postgres keeps any text but that")
        if any("\ud800" <= character <= "\udfff" for character in description):
            raise ValueError("is not UTF-8: write it in that")
        return description


class BudgetSection(Section):
    """`[budget]`."""

    trials: Count = Field(
        100, description="Trials to end, exactly, over all workers; a grid: its points; an empty [space]: 1."
    )
    epochs: Count = Field(30, description="Epochs a trial trains for.")
    # A million hours: beyond it the end of the study is no date Postgres knows.
    hours: Real | None = Field(None, gt=0, le=1e6, description="Hours since the start, pauses excluded.")
    target: Real | None = Field(None, description="The study ends when a trial reaches this value of the metric.")
    failures: Count = Field(5, description="Errors in a row that pause the study.")
    attempts: Count = Field(3, description="Attempts at a trial whose worker or trainer dies.")
    patience: Count = Field(2, description="Epochs at chance after which a trial with epochs left is ended.")
    early_stopping: Count | None = Field(
        None, description="Epochs without a better value after which a trial is complete."
    )
    repeats: Count = Field(1, description="Trainings of each point of a grid, each with a seed of its own.")

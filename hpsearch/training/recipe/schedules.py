"""The learning rate over a training."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import keras

ONE_CYCLE_START = 1 / 25
"""Where one_cycle begins, as a fraction of its highest rate (the default of PyTorch's OneCycleLR)."""


@dataclass(frozen=True)
class Schedule:
    """The learning rate `start` and how it changes; see the rows of the same names."""

    start: float
    shape: str
    warmup: float = 0.0
    final_rate: float = 0.0

    @classmethod
    def read(cls, hyperparameters: Mapping[str, Any]) -> "Schedule":
        """Pick the schedule from every row of the table.

        Raises:
            KeyError: a hyperparameter is missing.
            ValueError: exponential never reaches a rate of 0.
        """
        names = ("learning_rate", "schedule", "warmup", "final_rate")
        schedule = cls(*(hyperparameters[name] for name in names))
        if schedule.shape == "exponential" and not schedule.final_rate:
            raise ValueError("schedule exponential never reaches final_rate 0: above 0")
        return schedule

    @property
    def changes_within_epochs(self) -> bool:
        """Return whether each step has its own rate, by `make_rate`; else each epoch, by `compute_epoch_rate`."""
        return self.warmup > 0 or self.shape == "one_cycle"

    def compute_epoch_rate(self, epoch: int, epochs: int) -> float:
        """Return the rate of an epoch, counted from 1: the same for all of its steps.

        constant: `start`. step: divided by 10 once half of the epochs are over, and again after three quarters (the
        shape of He et al. 2016, arXiv:1512.03385). cosine: from `start` by half a cosine (Loshchilov and Hutter 2017,
        arXiv:1608.03983, without restarts), exponential: by the same factor each epoch, to what would be `final_rate`
        of `start` in the epoch after the last.

        Raises:
            ValueError: no schedule is called `shape`, or it changes within epochs.
        """
        done, final = (epoch - 1) / epochs, self.final_rate
        if self.changes_within_epochs:
            raise ValueError(f"{self} has a rate for each step")
        if self.shape == "step":
            return float(self.start / 10 ** ((done >= 0.5) + (done >= 0.75)))
        if self.shape == "cosine":
            cosine = (1 + math.cos(math.pi * done)) / 2
            return self.start * (cosine if not final else final + (1 - final) * cosine)
        if self.shape == "exponential":
            return float(self.start * final**done)
        if self.shape != "constant":
            raise ValueError(f"no learning rate schedule is called {self.shape!r}")
        return self.start

    def make_rate(self, steps: int) -> "WarmUp":
        """Return the rate of each of `steps` steps, which are those of the whole training.

        After the warmup the shapes are those of `compute_epoch_rate`, over the steps that are left. one_cycle rises
        from a 25th of `start`, then falls by half a cosine (Smith and Topin 2017, arXiv:1708.07120; the momentum
        stays).

        Raises:
            ValueError: no schedule is called `shape`.
        """
        rising = round(self.warmup * steps)
        first = self.start * ONE_CYCLE_START if self.shape == "one_cycle" else 0.0
        return WarmUp(first, self.start, rising, self._make_decay(max(steps - rising, 1)))

    def _make_decay(self, steps: int) -> keras.optimizers.schedules.LearningRateSchedule:
        schedules, start = keras.optimizers.schedules, self.start
        if self.shape == "constant":
            return schedules.ExponentialDecay(start, steps, 1.0)
        if self.shape == "step":
            boundaries = [math.ceil(share * steps) - 1 for share in (0.5, 0.75)]  # the last step before each change
            return schedules.PiecewiseConstantDecay(boundaries, [start, start / 10, start / 100])
        if self.shape == "exponential":
            return schedules.ExponentialDecay(start, steps, self.final_rate)
        if self.shape in ("cosine", "one_cycle"):
            return schedules.CosineDecay(start, steps, alpha=self.final_rate)
        raise ValueError(f"no learning rate schedule is called {self.shape!r}")


class WarmUp(keras.optimizers.schedules.LearningRateSchedule):  # type: ignore[misc] # Keras ships no types
    """A rate that rises evenly from `first` to `target` within `steps` steps, and then is that of `after`."""

    def __init__(
        self, first: float, target: float, steps: int, after: keras.optimizers.schedules.LearningRateSchedule
    ) -> None:
        self.first, self.target, self.steps, self.after = first, target, steps, after

    def __call__(self, step: Any) -> Any:
        """Return the rate of `step`, counted from 0."""
        step = keras.ops.cast(step, "float32")
        rising = self.first + (self.target - self.first) * step / max(self.steps, 1)
        return keras.ops.where(step < self.steps, rising, self.after(step - self.steps))

    def get_config(self) -> dict[str, Any]:
        """Return what the rate is made of, for Keras."""
        return {"first": self.first, "target": self.target, "steps": self.steps, "after": self.after}


def set_epoch_rate(
    optimizer: keras.optimizers.Optimizer, schedule: Schedule, epoch: int, epochs: int, steps: int
) -> float:
    """Give the optimizer the rate of an epoch, counted from 1, of `steps` steps; return the one at the epoch's end."""
    if schedule.changes_within_epochs:
        return float(schedule.make_rate(epochs * steps)(epoch * steps - 1))
    rate = schedule.compute_epoch_rate(epoch, epochs)
    optimizer.learning_rate = rate  # a variable: setting it compiles nothing anew
    return rate

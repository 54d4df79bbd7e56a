"""What an ablation found: each level against the best configuration, and what each change on the path to it brings."""

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import asdict, dataclass
from enum import StrEnum
from functools import cached_property
from statistics import fmean, median
from typing import Any

from hpsearch.analysis.ablations import seed_noise
from hpsearch.analysis.ablations.design import AblationDesign, LevelChange, Params
from hpsearch.analysis.ablations.seed_noise import Interval
from hpsearch.analysis.anova.stages import find_floor
from hpsearch.analysis.statistics import CONFIDENCE
from hpsearch.metrics import METRICS, Direction
from hpsearch.spec.rows import Value
from hpsearch.spec.study_spec import StudySpec
from hpsearch.storage.results import Trial

RACED_SEEDS = 2
"""Seeds after which a level that is beyond doubt gets no further one."""
BEYOND_DOUBT = 0.99
"""Confidence of the intervals by which it is. Stricter than the table's, which must hold after both looks."""


class Verdict(StrEnum):
    """What the interval of a level's difference to the best configuration says."""

    WORSE = "worse"
    OPEN = "not distinguishable"
    BETTER = "better"


@dataclass(frozen=True)
class AblationLevel:
    """One level: the best configuration with `value` for the hyperparameter `name`.

    `mean` is the metric's over `seeds` trainings, `at_chance` of which learned nothing. `difference` is this level less
    the best configuration, in the metric's unit, with an interval that holds for all levels at once; it and the
    `verdict` are None where there are too few trainings. `seconds` is an epoch's.
    """

    name: str
    value: Value
    params: Params
    seeds: int
    at_chance: int
    mean: float | None
    difference: Interval | None
    verdict: Verdict | None
    seconds: float | None


@dataclass(frozen=True)
class PathStep:
    """One change on the path from the base configuration to the best one; `name` is None for the base itself.

    `at_chance` of its `seeds` trainings learned nothing. `difference` is to the step before, in the metric's unit, with
    an interval that holds for all steps at once.
    """

    name: str | None
    value: Value | None
    params: Params
    seeds: int
    at_chance: int
    mean: float | None
    difference: Interval | None


@dataclass(frozen=True)
class AblationTable:
    """The best configuration, its levels and the path to it; `trial` of the search is the one that has it.

    `seeds` are its trainings that count, `at_chance` those of them that learned nothing, `seconds` an epoch's, `epochs`
    and `trials` what all were trained for so far.
    """

    trial: int
    params: Params
    seeds: int
    at_chance: int
    mean: float | None
    seconds: float | None
    levels: tuple[AblationLevel, ...]
    path: tuple[PathStep, ...]
    trials: int
    epochs: int
    direction: Direction

    @property
    def better(self) -> AblationLevel | None:
        """The best of the levels that are better than the configuration they change; None where none is."""
        levels = [level for level in self.levels if level.verdict is Verdict.BETTER and level.mean is not None]
        return max(levels, key=lambda level: self.direction.sign * (level.mean or 0.0), default=None)

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return {**asdict(self), "better": asdict(self.better) if self.better else None}


def build_table(spec: StudySpec, design: AblationDesign, trials: Sequence[Trial]) -> AblationTable:
    """Return what the trials of an ablation say so far; those that failed or were stopped do not count."""
    return _Trainings(spec, design, trials).build()


def list_settled(spec: StudySpec, design: AblationDesign, trials: Sequence[Trial]) -> AbstractSet[int]:
    """Return the configurations that are worse than the best beyond doubt after `RACED_SEEDS` seeds.

    Later trials have no part in it, so that it is the same whenever it is asked. What the path needs is not dropped.
    """
    early = [trial for trial in trials if trial.number < RACED_SEEDS * design.round_size]
    levels = _Trainings(spec, design, early).compare_levels(BEYOND_DOUBT)
    kept = {0, design.base, *(step.configuration for step in design.path)}
    verdicts = {level.configuration: judge(interval, spec.direction) for level, interval in levels if interval}
    return {number for number, verdict in verdicts.items() if verdict is Verdict.WORSE} - kept


@dataclass(frozen=True)
class _Trainings:
    """The trainings of an ablation, by configuration."""

    spec: StudySpec
    design: AblationDesign
    trials: Sequence[Trial]

    def build(self) -> AblationTable:
        differences = {level.configuration: interval for level, interval in self.compare_levels()}
        return AblationTable(
            self.design.trial,
            self.design.configurations[0],
            len(self.samples[0]),
            self._at_chance[0],
            self._mean(0),
            self._seconds(0),
            tuple(self._describe_level(level, differences[level.configuration]) for level in self.design.levels),
            tuple(self._list_steps()),
            sum(bool(trial.epochs) for trial in self.trials),
            sum(len(trial.epochs) for trial in self.trials),
            self.spec.direction,
        )

    def compare_levels(self, confidence: float = CONFIDENCE) -> list[tuple[LevelChange, Interval | None]]:
        """Return each level's difference to the best configuration."""
        pairs = [(level.configuration, 0) for level in self.design.levels]
        return list(zip(self.design.levels, self._compare(pairs, confidence), strict=True))

    @cached_property
    def _by_configuration(self) -> Mapping[int, Sequence[Trial]]:
        schedule = self.design.schedule
        sources = {trial.number: trial.retry_of for trial in self.trials}
        groups: dict[int, list[Trial]] = {number: [] for number in range(len(self.design.configurations))}
        for trial in self.trials:
            number: int | None = trial.number
            while number is not None and number >= len(schedule):
                number = sources.get(number)
            if number is not None:
                groups[schedule[number]].append(trial)
        return groups

    @cached_property
    def samples(self) -> Sequence[Sequence[float]]:
        """Return the values of each configuration, in the metric's unit."""
        values = ([self._value(trial) for trial in trials] for trials in self._by_configuration.values())
        return [[value for value in row if value is not None] for row in values]

    @cached_property
    def _at_chance(self) -> Sequence[int]:
        """Return how many trainings of each configuration are no better than guessing."""
        sign, floor = self.spec.direction.sign, find_floor(self.spec)
        return [sum(sign * value <= floor for value in sample) for sample in self.samples]

    def _value(self, trial: Trial) -> float | None:
        if trial.outcome is not None and trial.outcome.counts_as_guess:
            return self.spec.direction.sign * find_floor(self.spec)
        return trial.value if trial.is_compared and math.isfinite(trial.value or 0.0) else None

    def _compare(self, pairs: Sequence[tuple[int, int]], confidence: float) -> list[Interval | None]:
        resolution = METRICS[self.spec.study.metric].compute_resolution(self.spec.class_counts)
        chance = [count > 0 for count in self._at_chance]
        return seed_noise.compare(self.samples, chance, pairs, resolution, confidence)

    def _describe_level(self, level: LevelChange, difference: Interval | None) -> AblationLevel:
        number = level.configuration
        return AblationLevel(
            level.name,
            level.value,
            self.design.configurations[number],
            len(self.samples[number]),
            self._at_chance[number],
            self._mean(number),
            difference,
            judge(difference, self.spec.direction) if difference else None,
            self._seconds(number),
        )

    def _list_steps(self) -> Iterator[PathStep]:
        if self.design.base is None:
            return
        places = [self.design.base, *(step.configuration for step in self.design.path)]
        pairs = [(after, before) for before, after in itertools.pairwise(places)]
        differences = [None, *self._compare(pairs, CONFIDENCE)]
        names = [(None, None), *((step.name, step.value) for step in self.design.path)]
        for number, (name, value), difference in zip(places, names, differences, strict=True):
            params, seeds, at_chance = (
                self.design.configurations[number],
                len(self.samples[number]),
                self._at_chance[number],
            )
            yield PathStep(name, value, params, seeds, at_chance, self._mean(number), difference)

    def _mean(self, number: int) -> float | None:
        return fmean(self.samples[number]) if self.samples[number] else None

    def _seconds(self, number: int) -> float | None:
        """Return the seconds of an epoch but the first, which compiles the model."""
        timed = [
            median(epoch.seconds for epoch in trial.epochs[1:])
            for trial in self._by_configuration[number]
            if len(trial.epochs) > 1
        ]
        return fmean(timed) if timed else None


def judge(difference: Interval, direction: Direction) -> Verdict:
    """Return whether a level is settled to be better or worse than what it is compared with."""
    if not difference.is_settled:
        return Verdict.OPEN
    return Verdict.BETTER if direction.sign * difference.amount > 0 else Verdict.WORSE

"""How right ablations are: do their intervals hold, and how many of the differences that matter do they settle?

    python benchmarks/ablation.py [--quick] [--only NAME ...] [--names NAME ...] [--searches N] [--ablations N]
        [--seeds N] [--uneven S] [--keep DIRECTORY]

Runs searches over landscapes (see answers.py), and around the best configuration of each several ablations, whose
trainings are drawn from the landscape: the service's own design, racing and intervals. What is true of a difference is
the mean of 200 trainings of both configurations. Each row is a variant of the method on the same trainings: without
racing; with one training of the best configuration for each of a level; with Games and Howell's intervals.

held: ablations all of whose intervals hold the truth. settled: of the true differences of 3 points and more. wrong:
claims of the wrong sign. path held: ablations all of whose steps' intervals hold. epochs: of it, over those
of the search. `--uneven` multiplies the noise of each configuration by a factor of its own, log-normal with that
standard deviation. `--names` are landscapes of drawn.py that are not in its list, such as drawn-31.
"""

import argparse
import contextlib
import hashlib
import itertools
import json
import math
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path

import answers
import answers_landscapes
import numpy as np
from answers import SearchSize
from answers_landscapes import Landscape

from hpsearch.analysis.ablations import design as ablation_design
from hpsearch.analysis.ablations import seed_noise
from hpsearch.analysis.ablations import table as ablation_table
from hpsearch.analysis.ablations.design import AblationDesign, Params
from hpsearch.analysis.ablations.seed_noise import Interval
from hpsearch.analysis.anova.stages import find_floor
from hpsearch.analysis.statistics import Cells, compare_levels
from hpsearch.evaluation import ablation
from hpsearch.metrics import EpochMetrics
from hpsearch.outcomes import TrialOutcome, TrialState
from hpsearch.spec.study_spec import StudySpec
from hpsearch.storage import embedded
from hpsearch.storage.database import Database
from hpsearch.storage.results import Summary, Trial

DRAWN = Path(__file__).parent / "landscapes" / "drawn.py"
TRAININGS = 200
"""Of a configuration whose mean is taken for true."""
MATTERS = 0.03
VARIANTS = ("as it is", "without racing", "one training of the best a seed", "Games and Howell")


@dataclass
class VariantScore:
    """Counts over ablations of one variant; `ratios` are epochs over the search's."""

    ablations: int = 0
    held: int = 0
    mattering: int = 0
    settled: int = 0
    claims: int = 0
    wrong: int = 0
    paths: int = 0
    paths_held: int = 0
    ratios: list[float] = field(default_factory=list)

    def add(self, differences: Sequence[tuple[Interval, float]]) -> None:
        """Count one ablation: each interval with what is true."""
        self.ablations += 1
        self.held += all(interval.low <= true <= interval.high for interval, true in differences)
        for interval, true in differences:
            right = interval.is_settled and interval.amount * true > 0
            self.claims += interval.is_settled
            self.wrong += interval.is_settled and not right
            if abs(true) >= MATTERS:
                self.mattering += 1
                self.settled += right


@dataclass
class Trainer:
    """Draws trainings from a landscape in the place of a worker's."""

    landscape: Landscape
    spec: StudySpec
    uneven: float

    def __post_init__(self) -> None:
        self.floor = find_floor(self.spec)
        self.find_mean = cache(self._find_mean)

    def draw(self, params: Params, random: np.random.Generator) -> list[EpochMetrics]:
        """Return the epochs of one training."""
        epochs = answers_landscapes.train(self.landscape, params, self.spec.budget.epochs, random)
        if not self.uneven or self.landscape.mean is None:
            return epochs
        factor = self._find_factor(json.dumps(dict(params), sort_keys=True))
        means = [self.landscape.mean(params, epoch.epoch, self.landscape.name) for epoch in epochs]
        pairs = zip(epochs, means, strict=True)
        return [replace(epoch, val_accuracy=mean + factor * (epoch.val_accuracy - mean)) for epoch, mean in pairs]

    def find_truth(self, params: Params) -> float:
        """Return the mean value of a configuration."""
        return float(self.find_mean(json.dumps(dict(params), sort_keys=True)))

    def _find_factor(self, text: str) -> float:
        seed = int.from_bytes(hashlib.sha256(text.encode()).digest()[:4])
        return float(np.exp(np.random.default_rng(seed).normal(0, self.uneven)))

    def _find_mean(self, text: str) -> float:
        random = np.random.default_rng([5, *text.encode()])
        values = [self.make_trial(0, json.loads(text), random) for _ in range(TRAININGS)]
        return statistics.fmean(self.floor if trial.value is None else trial.value for trial in values)

    def make_trial(self, number: int, params: Params, random: np.random.Generator) -> Trial:
        """Return a trial of an ablation; one that ended at chance has no value."""
        epochs = self.draw(params, random)
        whole = len(epochs) == self.spec.budget.epochs and epochs[-1].finite
        return Trial(
            number=number,
            state=TrialState.COMPLETE if whole else TrialState.PRUNED,
            outcome=TrialOutcome.COMPLETED if whole else TrialOutcome.AT_CHANCE,
            value=max(epoch.val_accuracy for epoch in epochs) if whole else None,
            params=params,
            attempts=1,
            worker=None,
            seconds=None,
            weights=None,
            epochs=tuple(epochs),
            detail=None,
            retry_of=None,
            history=(),
            best_epoch=None,
            confusion=None,
            made_by={},
            began=None,
            ended=None,
        )


def measure(
    trainer: Trainer, summary: Summary, searched: Sequence[Trial], options: argparse.Namespace, seed: int
) -> Iterator[tuple[str, VariantScore]]:
    """Yield a score for each variant, over the ablations around the best configuration of one search."""
    spec = trainer.spec
    best = max((trial for trial in searched if trial.state is TrialState.COMPLETE), key=lambda trial: trial.value or 0)
    predict = ablation.make_predict(spec, searched)
    design = ablation_design.make_design(spec, best.number, best.params, options.seeds, predict=predict)
    truth = [trainer.find_truth(params) for params in design.configurations]
    epochs = sum(len(trial.epochs) for trial in searched)
    scores = {variant: VariantScore() for variant in VARIANTS}
    for number in range(options.ablations):
        random = np.random.default_rng([seed, number, *trainer.landscape.name.encode()])
        trials = [
            trainer.make_trial(i, design.configurations[place], random) for i, place in enumerate(design.schedule)
        ]
        settled = ablation_table.list_settled(spec, design, trials)
        early = ablation_table.RACED_SEEDS * design.round_size
        raced = [trial for trial in trials if trial.number < early or design.schedule[trial.number] not in settled]
        _score(scores, spec, design, trials, raced, truth)
        scores[VARIANTS[0]].ratios.append(sum(len(trial.epochs) for trial in raced) / epochs)
        scores[VARIANTS[1]].ratios.append(sum(len(trial.epochs) for trial in trials) / epochs)
    yield from scores.items()


def _score(
    scores: Mapping[str, VariantScore],
    spec: StudySpec,
    design: AblationDesign,
    trials: Sequence[Trial],
    raced: Sequence[Trial],
    truth: Sequence[float],
) -> None:
    """Add one ablation to the score of each variant."""
    places = [level.configuration for level in design.levels]
    trues = [truth[place] - truth[0] for place in places]
    for variant, taken in ((VARIANTS[0], raced), (VARIANTS[1], trials)):
        table = ablation_table.build_table(spec, design, taken)
        pairs = zip((level.difference for level in table.levels), trues, strict=True)
        scores[variant].add([(interval, true) for interval, true in pairs if interval])
        if len(table.path) > 1:
            along = [design.base or 0, *(step.configuration for step in design.path)]
            gains = [truth[after] - truth[before] for before, after in itertools.pairwise(along)]
            steps = zip((step.difference for step in table.path[1:]), gains, strict=True)
            scores[variant].paths += 1
            scores[variant].paths_held += all(step.low <= gain <= step.high for step, gain in steps if step)
    floor, resolution = find_floor(spec), 1 / spec.validation_images
    samples: list[list[float]] = [[] for _ in design.configurations]
    for trial in trials:
        samples[design.schedule[trial.number]].append(floor if trial.value is None else trial.value)
    samples[0] = samples[0][: design.seeds]
    chance = [min(sample) <= floor for sample in samples]
    alone = seed_noise.compare(samples, chance, [(place, 0) for place in places], resolution)
    scores[VARIANTS[2]].add([(interval, true) for interval, true in zip(alone, trues, strict=True) if interval])
    cells: dict[str, Cells] = {str(place): {None: samples[place]} for place in (0, *places)}
    halves = {
        (pair.better, pair.worse): pair.half or math.inf
        for pair in compare_levels(cells, spec.direction, True, resolution)
    }
    scores[VARIANTS[3]].add(
        [(_find_pair(halves, place, samples), true) for place, true in zip(places, trues, strict=True)]
    )


def _find_pair(halves: Mapping[tuple[str, str], float], place: int, samples: Sequence[Sequence[float]]) -> Interval:
    half = next(half for pair, half in halves.items() if set(pair) == {"0", str(place)})
    amount = statistics.fmean(samples[place]) - statistics.fmean(samples[0])
    return Interval(amount, amount - half, amount + half)


def format_row(name: str, variant: str, score: VariantScore) -> str:
    """Return a row of the table."""

    def share(part: int, whole: int) -> str:
        return f"{part / whole:.2f}" if whole else "–"

    ratio = f"{statistics.fmean(score.ratios):.2f}" if score.ratios else "–"
    return (
        f"| {name} | {variant} | {score.ablations} | {share(score.held, score.ablations)} | "
        f"{share(score.settled, score.mattering)} of {score.mattering} | {score.wrong} of {score.claims} | "
        f"{share(score.paths_held, score.paths)} | {ratio} |"
    )


def list_landscapes(options: argparse.Namespace) -> list[Landscape]:
    """Return the landscapes to measure on."""
    if options.names:
        return [answers_landscapes.find(DRAWN, name) for name in options.names]
    everything = [landscape for file in answers.LANDSCAPES for landscape in answers_landscapes.load(file)]
    only = options.only or (answers.QUICK if options.quick else ())
    return [landscape for landscape in everything if not only or landscape.name in only]


def main() -> None:
    """Read the command line, measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="two landscapes, small; over in a minute")
    parser.add_argument("--only", nargs="+", default=(), metavar="NAME", help="of the landscapes there are")
    parser.add_argument("--names", nargs="+", default=(), metavar="NAME", help="of landscapes of drawn.py")
    parser.add_argument("--searches", type=int, default=2, help="of each landscape")
    parser.add_argument("--ablations", type=int, default=10, help="around the best configuration of each search")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--uneven", type=float, default=0.0, metavar="S")
    parser.add_argument("--keep", type=Path, metavar="DIRECTORY", help="where the searches stay")
    options = parser.parse_args()
    size = SearchSize(options.searches)
    if options.quick:
        size, options.ablations = answers.QUICK_SIZE, 3
    print("| landscape | variant | ablations | held | settled | wrong | path held | epochs |")
    print("| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: |")
    totals = {variant: VariantScore() for variant in VARIANTS}
    with (
        answers.open_directory(options.keep) as directory,
        embedded.start(directory) as server,
        contextlib.closing(Database(server.url)) as database,
    ):
        database.prepare()
        for landscape in list_landscapes(options):
            trainer = Trainer(landscape, landscape.make_spec(size.epochs), options.uneven)
            whole = {variant: VariantScore() for variant in VARIANTS}
            for seed in range(size.seeds):
                summary, trials = answers.search(database, landscape, seed, size)
                for variant, score in measure(trainer, summary, trials, options, seed):
                    _add(whole[variant], score)
            for variant in VARIANTS:
                _add(totals[variant], whole[variant])
            print(format_row(landscape.name, VARIANTS[0], whole[VARIANTS[0]]), flush=True)
    for variant in VARIANTS:
        print(format_row("all", variant, totals[variant]))


def _add(total: VariantScore, part: VariantScore) -> None:
    for name, value in vars(part).items():
        setattr(total, name, getattr(total, name) + value)


if __name__ == "__main__":
    main()

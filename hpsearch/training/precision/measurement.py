"""How long the steps of two precisions take, within a budget, and which of them that speaks for."""

from collections.abc import Callable, Mapping, Sequence
from statistics import median

BUDGET_SECONDS = 2.0
"""After so long, compilation included, no further round is begun, and no further network compiled.

By the clock on the wall or by the one that counts, whichever is slower: of many threads the processor's seconds pass
faster than the wall's, on a busy host slower.
"""
WAIT_SECONDS = 10.0
"""The same by the clock on the wall alone: a trial waits for it, however busy the host is."""
ROUNDS, LEAST_ROUNDS = 9, 3
MARGIN = 1.05
"""A policy must be faster than the first by more than this: a smaller difference is within the samples' error."""

Launch = Callable[[], object]
"""Takes a training step, and returns when it is done."""
Clock = Callable[[], float]

Rounds = Mapping[str, Sequence[float]]
"""Seconds of a step in each policy, a number a round."""


def time_steps(policies: Sequence[str], compile_steps: Callable[[str], Launch], clock: Clock, wall: Clock) -> Rounds:
    """Return the seconds of a step in each policy; none where the budget ends before all are compiled.

    The policies take turns, so that whatever else the host does slows down all of them.

    Args:
        policies: the first is the one to beat.
        compile_steps: compiles a policy's steps and takes the first of them.
        clock: seconds that count.
        wall: seconds that pass meanwhile.
    """
    counted, passed = clock(), wall()

    def is_over() -> bool:
        waited = wall() - passed
        return min(waited, clock() - counted) >= BUDGET_SECONDS or waited >= WAIT_SECONDS

    launches: list[Launch] = []
    for policy in policies:
        if is_over():
            return {}
        launches.append(compile_steps(policy))
    rounds: list[list[float]] = []
    while len(rounds) < LEAST_ROUNDS or (len(rounds) < ROUNDS and not is_over()):
        rounds.append([_time(launch, clock) for launch in launches])
    return dict(zip(policies, zip(*rounds, strict=True), strict=True))


def _time(launch: Launch, clock: Clock) -> float:
    began = clock()
    launch()
    return clock() - began


def find_fastest(policies: Sequence[str], rounds: Rounds) -> str:
    """Return the policy with the fastest steps; the first in a tie, and where there are no rounds."""
    first, *others = policies
    fastest, most = first, MARGIN
    for policy in others:
        ratio = compare(rounds, first, policy)
        if ratio is not None and ratio > most:
            fastest, most = policy, ratio
    return fastest


def compare(rounds: Rounds, one: str, other: str) -> float | None:
    """Return how many times as long `one` takes as `other`, the median over the rounds; None without any."""
    pairs = zip(rounds.get(one, ()), rounds.get(other, ()), strict=True)
    ratios = [first / second for first, second in pairs if second > 0]
    return median(ratios) if ratios else None

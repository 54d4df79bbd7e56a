"""The precision is chosen by the measured times, within a budget: on a clock that only the steps move."""

from collections.abc import Callable

import pytest

from hpsearch.training.precision.measurement import (
    BUDGET_SECONDS,
    LEAST_ROUNDS,
    ROUNDS,
    WAIT_SECONDS,
    Launch,
    compare,
    find_fastest,
    time_steps,
)

POLICIES = ("float32", "mixed_bfloat16")


class SteppedClock:
    """Seconds that pass where `spend` is called; `turns` is who spent them."""

    def __init__(self) -> None:
        self.now = 100.0
        self.turns: list[str] = []

    def __call__(self) -> float:
        return self.now

    def spend(self, seconds: float, who: str = "") -> None:
        self.now += seconds
        self.turns.append(who)


def make_steps(clock: SteppedClock, compile_seconds: float, steps: dict[str, float]) -> Callable[[str], Launch]:
    def compile_steps(policy: str) -> Launch:
        clock.spend(compile_seconds, f"compile {policy}")
        return lambda: clock.spend(steps[policy], policy)

    return compile_steps


@pytest.mark.parametrize(
    ("float32", "bfloat16", "fastest"),
    [
        (0.04, 0.02, "mixed_bfloat16"),
        (0.02, 0.04, "float32"),
        (0.0206, 0.02, "float32"),  # a tie
        (0.022, 0.02, "mixed_bfloat16"),
    ],
)
def test_the_faster_one_is_chosen(float32: float, bfloat16: float, fastest: str) -> None:
    """By the measured steps alone, float32 in a tie; what compiles longer is not the slower."""
    clock = SteppedClock()
    rounds = time_steps(
        POLICIES, make_steps(clock, 0.5, {"float32": float32, "mixed_bfloat16": bfloat16}), clock, clock
    )
    assert find_fastest(POLICIES, rounds) == fastest
    assert find_fastest(POLICIES[::-1], rounds) == (fastest if float32 != 0.0206 else "mixed_bfloat16")
    assert compare(rounds, *POLICIES) == pytest.approx(float32 / bfloat16)


def test_they_take_turns() -> None:
    """What else the host does meets both."""
    clock = SteppedClock()
    time_steps(POLICIES, make_steps(clock, 0.1, dict.fromkeys(POLICIES, 0.01)), clock, clock)
    assert clock.turns == [*(f"compile {policy}" for policy in POLICIES), *POLICIES * ROUNDS]


def test_a_busy_moment_does_not_decide() -> None:
    """A third of the rounds in which one of them takes ten times as long changes nothing."""
    rounds = {"float32": [0.04] * 9, "mixed_bfloat16": [0.02] * 6 + [0.2] * 3}
    assert find_fastest(POLICIES, rounds) == "mixed_bfloat16"


@pytest.mark.parametrize(("compiling", "rounds"), [(0.9, 4), (1.9, LEAST_ROUNDS), (BUDGET_SECONDS + 0.1, 0)])
def test_the_budget_ends_it(compiling: float, rounds: int) -> None:
    """Nothing is begun after it but the least rounds; where it ends before both are compiled, nothing is compared."""
    clock = SteppedClock()
    began, steps = clock.now, dict.fromkeys(POLICIES, 0.03)
    measured = time_steps(POLICIES, make_steps(clock, compiling, steps), clock, clock)
    assert len(measured.get("float32", ())) == rounds
    assert clock.now - began <= max(BUDGET_SECONDS, 2 * compiling) + LEAST_ROUNDS * 0.06 + 1e-9
    assert find_fastest(POLICIES, {}) == "float32"


@pytest.mark.parametrize(("compiling", "rounds"), [(WAIT_SECONDS + 0.1, 0), (WAIT_SECONDS - 1, LEAST_ROUNDS)])
def test_a_busy_host_does_not_keep_a_trial_waiting(compiling: float, rounds: int) -> None:
    """Where the process gets little of the processor, the time that passes ends it."""
    wall, steps = SteppedClock(), dict.fromkeys(POLICIES, 0.6)
    measured = time_steps(POLICIES, make_steps(wall, compiling, steps), lambda: wall.now / 100, wall)
    assert len(measured.get("float32", ())) == rounds


def test_many_threads_have_as_long() -> None:
    """Sixteen of them spend the processor's seconds sixteen times as fast as time passes."""
    wall, steps = SteppedClock(), dict.fromkeys(POLICIES, 0.01)
    measured = time_steps(POLICIES, make_steps(wall, 0.5, steps), lambda: 16 * wall.now, wall)
    assert len(measured["float32"]) == ROUNDS

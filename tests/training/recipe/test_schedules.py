"""Learning rates over a training."""

import keras
import numpy as np
import pytest

from hpsearch.spec.hyperparameters import BASE_TABLE
from hpsearch.training.recipe.schedules import Schedule, set_epoch_rate

pytestmark = pytest.mark.tensorflow


def list_rates(schedule: Schedule, steps: int) -> list[float]:
    """The rate of each step."""
    rate = schedule.make_rate(steps)
    return [float(rate(step)) for step in range(steps)]


def test_schedules_over_epochs() -> None:
    """constant stays; step is a tenth from the half, a hundredth from three quarters; cosine falls towards 0."""
    rates = {
        name: [Schedule(1.0, name).compute_epoch_rate(epoch, 8) for epoch in range(1, 9)]
        for name in ("constant", "step", "cosine")
    }
    assert rates["constant"] == [1.0] * 8
    assert rates["step"] == pytest.approx([1, 1, 1, 1, 0.1, 0.1, 0.01, 0.01])
    assert rates["cosine"][0] == 1.0
    assert rates["cosine"][4] == pytest.approx(0.5)
    assert 0 < rates["cosine"][-1] < 0.05
    assert Schedule(1.0, "step").compute_epoch_rate(1, 1) == 1.0


@pytest.mark.parametrize("shape", ["cosine", "exponential"])
def test_final_rate_is_reached_after_the_last_epoch(shape: str) -> None:
    """The rate falls each epoch, and would be `final_rate` of the start in the epoch after the last."""
    schedule = Schedule(2.0, shape, final_rate=0.01)
    rates = [schedule.compute_epoch_rate(epoch, 4) for epoch in range(1, 6)]
    assert rates == sorted(rates, reverse=True)
    assert (rates[0], rates[-1]) == pytest.approx((2.0, 0.02))


def test_warmup_and_cosine_are_those_of_keras() -> None:
    """Evenly from 0 to the start, and then half a cosine to `final_rate`: Keras's CosineDecay."""
    theirs = keras.optimizers.schedules.CosineDecay(0.0, 75, alpha=0.1, warmup_target=0.5, warmup_steps=25)
    ours = list_rates(Schedule(0.5, "cosine", 0.25, 0.1), 100)
    assert ours == pytest.approx([float(theirs(step)) for step in range(100)], rel=1e-5, abs=1e-7)


def test_one_cycle_rises_and_falls() -> None:
    """From a 25th to the rate after the warmup, and down to nearly nothing."""
    rates = list_rates(Schedule(1.0, "one_cycle", 0.3), 100)
    assert (rates[0], max(rates), rates.index(max(rates))) == pytest.approx((0.04, 1.0, 30))
    assert 0 < rates[-1] < 0.001
    assert np.all(np.diff(rates[:31]) > 0)
    assert np.all(np.diff(rates[30:]) < 0)


@pytest.mark.parametrize("shape", ["constant", "step", "cosine", "exponential"])
def test_warmup_precedes_what_each_epoch_would_have(shape: str) -> None:
    """After the warmup a step has the rate of the epochs' schedule over the steps that are left."""
    schedule, rest = Schedule(0.1, shape, 0.2, 0.05), Schedule(0.1, shape, 0.0, 0.05)
    rates = list_rates(schedule, 50)
    assert rates[:10] == pytest.approx([0.1 * step / 10 for step in range(10)])
    assert rates[10:] == pytest.approx([rest.compute_epoch_rate(step, 40) for step in range(1, 41)], rel=1e-5)


def test_rate_of_an_epoch_is_the_one_at_its_end() -> None:
    """Where each step has its own, the last step's; else the epoch's, which the optimizer is given."""
    optimizer = keras.optimizers.SGD()
    assert set_epoch_rate(optimizer, Schedule(0.5, "cosine"), 2, 4, 10) == pytest.approx(0.5 * (1 + np.sqrt(0.5)) / 2)
    assert float(optimizer.learning_rate) == pytest.approx(0.5 * (1 + np.sqrt(0.5)) / 2)
    warming = Schedule(0.5, "constant", 0.5)
    rates = [set_epoch_rate(optimizer, warming, epoch, 4, 10) for epoch in range(1, 5)]
    assert rates == pytest.approx([0.5 * 9 / 20, 0.5 * 19 / 20, 0.5, 0.5])


def test_unknown_schedule_is_refused() -> None:
    """A schedule that is not implemented is not taken for a constant rate."""
    for make in (
        lambda: Schedule(0.1, "linear").compute_epoch_rate(1, 2),
        lambda: Schedule(0.1, "linear").make_rate(2),
    ):
        with pytest.raises(ValueError, match="no learning rate schedule is called 'linear'"):
            make()


def test_exponential_to_zero_is_refused() -> None:
    """No factor leads to 0, and a rate of 0 from the second step on would be no training."""
    with pytest.raises(ValueError, match="exponential never reaches final_rate 0"):
        Schedule.read(BASE_TABLE.fill_defaults({"schedule": "exponential", "final_rate": 0.0}))

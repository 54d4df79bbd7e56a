"""What the epochs of `training.py` say about the trainer: its precision, and its targets."""

from collections.abc import Iterator, Mapping, Sequence
from statistics import mean

Costs = Mapping[str, Sequence[float]]
"""CPU seconds of epochs, by side."""

PLAIN = ("plain", "plain steps", "plain bfloat16", "plain both")
AHEAD, OF_FLOOR = 1.1, 1.15
"""The targets: so many times faster than plain `fit` where bfloat16 is the faster; so many times the floor."""


def judge(costs: Costs, chosen: str, names: Mapping[str, str]) -> Iterator[str]:
    """Yield the lines of what was chosen and of the targets.

    Args:
        costs: of all sides.
        chosen: the precision that `auto` takes: "float32" or "bfloat16".
        names: of the sides.
    """
    seconds = {side: mean(values) for side, values in costs.items()}
    other = "float32" if chosen == "bfloat16" else "bfloat16"
    ours, rest = seconds[f"ours {chosen}"], seconds[f"ours {other}"]
    yield f"- precision = auto takes {chosen} here: {ours:.2f} CPU-s; in {other} it is {rest:.2f}, {rest / ours:.2f}×"
    best = min(PLAIN, key=seconds.__getitem__)
    ahead = seconds[best] / ours
    yield _verdict(f"not slower than plain fit at its best ({names[best]}): {ahead:.2f}× as fast", 1.0, ahead >= 1.0)
    if seconds["ours bfloat16"] < seconds["ours float32"]:
        yield _verdict(f"ahead of it where bfloat16 is the faster: {ahead:.2f}×", AHEAD, ahead >= AHEAD)
    else:
        yield "- ahead of it where bfloat16 is the faster: it is not here"
    floor = min(("floor float32", "floor bfloat16"), key=seconds.__getitem__)
    share = ours / seconds[floor]
    yield _verdict(f"of the floor ({names[floor]}): {share:.2f}×", OF_FLOOR, share <= OF_FLOOR)


def _verdict(measured: str, target: float, met: bool) -> str:
    return f"- {measured}, target {target:.2f}: {'met' if met else 'MISSED'}"

"""A row of the table of hyperparameters: its type, default, bounds and one-line meaning."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

Value = float | int | str | bool

LONGEST_NAME = 64
"""Letters that are compared; longer words are no names."""


@dataclass(frozen=True)
class Hyperparameter:
    """One row of the table.

    `low` and `high` are inclusive bounds of a number (`above_low` makes `low` exclusive); `choices` the words of a
    choice. `default` None means "as the hyperparameter named by `default_from`", without one that there is none;
    `defaults_by` has the default for some values of `default_from`. `plain` is the value without randomness or penalty,
    where the row brings one: the sanity checks train with it. `used_with` is another row and its values beside which
    this one has an effect; None: beside all. `group` is what the row belongs to: "optimizer", "loss", "loop", "input"
    or "model". Rows are shown by ascending `place`, of whichever file they are.
    """

    name: str
    kind: type[float] | type[int] | type[str] | type[bool]
    default: Value | None
    meaning: str
    low: float = -math.inf
    high: float = math.inf
    above_low: bool = False
    choices: tuple[str, ...] = ()
    default_from: str | None = None
    defaults_by: Mapping[Value, Value] = field(default_factory=dict, hash=False)
    plain: Value | None = None
    used_with: tuple[str, tuple[Value, ...]] | None = None
    group: str = "model"
    place: int = 1000

    def find_default(self, others: Mapping[str, Value]) -> Value | None:
        """Return the default beside `others`, the values of the rows before this one; None where there is none.

        Raises:
            KeyError: the row that the default follows is not among them.
        """
        if self.default_from is None:
            return self.default
        other = others[self.default_from]
        return other if self.default is None else self.defaults_by.get(other, self.default)

    def find_fault(self, value: object) -> str | None:
        """Return what is wrong with `value` and what would be right; None where it is fine."""
        if self.kind is bool:
            return None if isinstance(value, bool) else f"{value!r} is not true or false"
        if self.kind is str:
            return None if value in self.choices else f"{value!r} is unknown: {self._describe_choices(value)}"
        if isinstance(value, bool) or not isinstance(value, int if self.kind is int else (int, float)):
            return f"{value!r} is not a {'whole number' if self.kind is int else 'number'}"
        if not math.isfinite(value):
            return f"{value!r} is not finite"
        if value < self.low or value > self.high or (self.above_low and value == self.low):
            return f"{value!r} is out of bounds: {self.bounds}"
        return None

    def _describe_choices(self, value: object) -> str:
        # No name that is merely similar: gelu is not meant to be elu.
        meant = find_spelling(value, self.choices) if isinstance(value, str) else None
        return f"did you mean {meant}?" if meant else f"one of {', '.join(self.choices)}"

    @property
    def bounds(self) -> str:
        """The admissible values, as a reader would write them."""
        if self.kind is bool:
            return "true or false"
        if self.kind is str:
            return ", ".join(self.choices)
        over = f"{'above' if self.above_low else 'from'} {self.low:g}"
        return f"{over} to {self.high:g}" if math.isfinite(self.high) else f"{over} up"

    def cast(self, value: Value) -> Value:
        """Return `value` in the type of this row: 1 becomes 1.0 where a float is meant."""
        return float(value) if self.kind is float else value


def find_spelling(word: str, names: Iterable[str]) -> str | None:
    """Return the name that is `word` but for capitals and what joins its parts; None where none is."""
    return next((name for name in names if _strip_spelling(name) == _strip_spelling(word)), None)


def _strip_spelling(word: str) -> str:
    return "".join(c for c in word[:LONGEST_NAME].lower() if c.isalnum())

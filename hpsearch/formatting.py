"""Values as text for a reader."""

import math
import re
import reprlib
from collections.abc import Mapping, Sequence

from hpsearch.metrics import METRICS

ACCURACY = "val_accuracy"
"""The metric in whose unit training accuracies and their differences are shown."""


ESCAPE = re.compile(
    r"\x1b\][^\x07\x1b\n]*(?:\x07|\x1b\\)?"  # a title or a link
    r"|\x1b\[[0-?]*[ -/]*[@-~]"  # a colour, or a move of the cursor
    r"|\x1b[ -/]*[0-~]"
)
"""The escape sequences of terminals, as ECMA-48 has them."""


CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
"""Control characters but line feed and tab, and those that turn the direction of what follows."""


def strip_escapes(text: str) -> str:
    """Return `text` without the escape sequences of terminals."""
    return ESCAPE.sub("", text) if "\x1b" in text else text


def make_printable(text: str) -> str:
    """Return `text` with whatever is not printable escaped: line breaks, terminals' codes, what turns the direction."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "backslashreplace").decode() for c in text)


def drop_controls(text: str) -> str:
    """Return `text` of several lines without escape sequences and control characters, but for tabs."""
    return CONTROL.sub("", strip_escapes(text))


def format_params(params: Mapping[str, object]) -> str:
    """Return `learning_rate 0.00123, optimizer adam`: numbers to three digits."""
    return ", ".join(f"{name} {format_value(value)}" for name, value in params.items()) or "the base model"


def format_value(value: object) -> str:
    """Return `on` or `off` for a bool, a float to three digits, anything else as it is."""
    if isinstance(value, bool):
        return "on" if value else "off"
    return f"{value:.3g}".replace("e-0", "e-") if isinstance(value, float) else str(value)


def format_distinct(values: Sequence[object]) -> list[str]:
    """Return each value as `format_value` does, or in full where two would be written alike."""
    written = [format_value(value) for value in values]
    return written if len(set(written)) == len(written) else [str(value) for value in values]


def format_count(number: int, what: str) -> str:
    """Return `1 trial`, `2,000 trials`."""
    return f"{number:,} {what}{'s' * (number != 1)}"


def join_words(labels: Sequence[str], last: str = "and") -> str:
    """Return `a`, `a and b`, `a, b and c`."""
    *most, end = labels
    return f"{', '.join(most)} {last} {end}" if most else end


def list_some(words: Sequence[str], most: int) -> str:
    """Return `a, b and 3 more`: at most `most` of the words."""
    if len(words) <= most:
        return ", ".join(words)
    return f"{', '.join(words[:most])} and {len(words) - most:,} more"


def format_duration(seconds: float) -> str:
    """Return `45 s`, `12 min`, `3 h 05 min`, `2 d 4 h`."""
    minutes = round(seconds / 60)
    if seconds < 100:
        return f"{max(0, seconds):.0f} s"
    if minutes < 100:
        return f"{minutes} min"
    hours = round(minutes / 60)
    return f"{minutes // 60} h {minutes % 60:02} min" if hours < 48 else f"{hours // 24} d {hours % 24} h"


def format_toml(value: object) -> str:
    """Return `value` on one line, close to how TOML spells it, shortened where it is long."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | tuple):
        return f"[{', '.join(format_toml(item) for item in value)}]" if len(value) <= 10 else reprlib.repr(value)
    return repr(value) if isinstance(value, float) else reprlib.repr(value)


def format_epochs(number: float) -> str:
    """Return `1 epoch`, `7.5 epochs`."""
    return f"{number:g} epoch{'s' * (number != 1)}"


def format_amount(amount: float, half: float | None, metric: str) -> str:
    """Return a difference as `2.1 ± 0.6 points` or `0.21 ± 0.06 nats`; without the ± where there is no interval."""
    return f"{_format_interval(amount, half, metric)} {_find_unit(metric)[2]}"


def format_metric(value: float, half: float | None, metric: str) -> str:
    """Return a value of the metric as `71.2 ± 0.6%` or `0.81 ± 0.02 nats`."""
    return f"{_format_interval(value, half, metric)}{'%' if METRICS[metric].is_fraction else ' nats'}"


def format_range(amount: float, low: float, high: float, metric: str) -> str:
    """Return a difference with its interval as `21.3 points (18.1 to 24.0)` or `0.21 nats (-0.06 to 0.48)`."""
    factor, places, unit = _find_unit(metric)
    return (
        f"{_round(amount * factor, places)} {unit} ({_round(low * factor, places)} to {_round(high * factor, places)})"
    )


def format_bounds(amount: float, low: float, high: float, metric: str) -> str:
    """Return a difference with its interval, as `format_range` does, for a column that names the unit."""
    factor, places, _ = _find_unit(metric)
    return f"{_round(amount * factor, places)} ({_round(low * factor, places)} to {_round(high * factor, places)})"


def format_gain(amount: float, metric: str) -> str:
    """Return a signed difference as `+9.1` (points) or `-0.21` (nats)."""
    factor, places, _ = _find_unit(metric)
    return f"{amount * factor:+.{places}f}"


def name_unit(metric: str) -> str:
    """Return `points`, of differences of fractions, or `nats`."""
    return _find_unit(metric)[2]


def format_difference(amount: float, low: float, high: float, metric: str) -> str:
    """Return how much worse something is, with the interval, as `21.3 points worse (18.1 to 24.0)`."""
    if amount < 0:
        amount, low, high, word = -amount, -high, -low, "better"
    else:
        word = "worse"
    factor, places, unit = _find_unit(metric)
    interval = f"{_round(low * factor, places)} to {_round(high * factor, places)}"
    return f"{_round(amount * factor, places)} {unit} {word} ({interval})"


def _round(value: float, places: int) -> str:
    """Return a number with so many decimal places, without a sign where it is then 0."""
    return f"{round(value, places) + 0.0:.{places}f}"


def _find_unit(metric: str) -> tuple[float, int, str]:
    """Return by what a difference of the metric is multiplied, how many decimal places it has, and its unit."""
    return (100, 1, "points") if METRICS[metric].is_fraction else (1, 2, "nats")


def _format_interval(value: float, half: float | None, metric: str) -> str:
    """Return fractions in percent, losses as they are; an interval below the usual precision brings more digits."""
    factor, places, _ = _find_unit(metric)
    if half and half * factor > 10 ** -(places + 2):
        places = max(places, math.ceil(-math.log10(half * factor)))
    interval = "" if half is None else f" ± {half * factor:.{places}f}"
    return f"{value * factor:.{places}f}{interval}"


def format_share(share: float, low: float, high: float) -> str:
    """Return a share with its interval as `49% (40% to 57%)`."""
    return f"{share:.0%} ({low:.0%} to {high:.0%})"


def capitalize(line: str) -> str:
    """Return the line with a capital first letter, and all others as they are."""
    return f"{line[:1].upper()}{line[1:]}"

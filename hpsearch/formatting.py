"""Values as text for a reader."""

import reprlib
from collections.abc import Mapping, Sequence


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

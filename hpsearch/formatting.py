"""How values are written for a reader."""

from collections.abc import Mapping, Sequence


def shown(params: Mapping[str, object]) -> str:
    """`learning_rate 0.00123, optimizer adam`: numbers to three digits."""
    return ", ".join(f"{name} {short(value)}" for name, value in params.items()) or "the base model"


def short(value: object) -> str:
    """`on` and `off` for a bool, a float to three digits, anything else as it is."""
    if isinstance(value, bool):
        return "on" if value else "off"
    return f"{value:.3g}".replace("e-0", "e-") if isinstance(value, float) else str(value)


def distinct(values: Sequence[object]) -> list[str]:
    """Each value `short`, or in full where two would be written alike."""
    written = [short(value) for value in values]
    return written if len(set(written)) == len(written) else [str(value) for value in values]


def counted(number: int, what: str) -> str:
    """`1 trial`, `2,000 trials`."""
    return f"{number:,} {what}{'s' * (number != 1)}"


def listed(labels: Sequence[str], last: str = "and") -> str:
    """`a`, `a and b`, `a, b and c`."""
    *most, end = labels
    return f"{', '.join(most)} {last} {end}" if most else end


def span(seconds: float) -> str:
    """`45 s`, `12 min`, `3 h 05 min`, `2 d 4 h`."""
    minutes = round(seconds / 60)
    if seconds < 100:
        return f"{max(0, seconds):.0f} s"
    if minutes < 100:
        return f"{minutes} min"
    hours = round(minutes / 60)
    return f"{minutes // 60} h {minutes % 60:02} min" if hours < 48 else f"{hours // 24} d {hours % 24} h"

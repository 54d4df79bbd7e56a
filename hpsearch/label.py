"""How values are written for a reader."""

from collections.abc import Mapping


def shown(params: Mapping[str, object]) -> str:
    """`learning_rate 0.00123, optimizer adam`: numbers to three digits."""
    return ", ".join(f"{name} {short(value)}" for name, value in params.items()) or "the base model"


def short(value: object) -> str:
    """`on` and `off` for a bool, a float to three digits, anything else as it is."""
    if isinstance(value, bool):
        return "on" if value else "off"
    return f"{value:.3g}".replace("e-0", "e-") if isinstance(value, float) else str(value)

"""Text of any origin as Markdown that shows it as it is."""

import string

SPECIAL = str.maketrans({mark: f"\\{mark}" for mark in string.punctuation})


def escape(text: str) -> str:
    """`text` as Markdown that shows it as it is, whatever it holds; its lines stay lines."""
    lines = (line.strip() for line in text.strip().splitlines())
    return "\\\n".join(line.translate(SPECIAL) for line in lines) if text.strip() else ""

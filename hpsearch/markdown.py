"""Text of any origin in Markdown: inline, or as a block of code.

What is escaped is what CommonMark, GitHub's tables, strikethrough and formulas, or the HTML in it would interpret.
"""

import re

MARKUP = re.compile(r"[\\`*\[\]<>&|#~$!]")
BORDER_UNDERSCORE = re.compile(r"(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])")
"""An underscore within a word, as in learning_rate, is no emphasis."""
LINE_START = re.compile(r"^([-+=:])")
LIST_NUMBER = re.compile(r"^(\d+)([.)])(?=\s|$)")


def escape(text: str) -> str:
    """Return `text` as Markdown that shows it as it is, on one line."""
    line = " ".join(text.split())
    line = MARKUP.sub(r"\\\g<0>", line)
    line = BORDER_UNDERSCORE.sub(r"\\_", line)
    line = LINE_START.sub(r"\\\1", line)
    return LIST_NUMBER.sub(r"\1\\\2", line)


def escape_lines(text: str) -> str:
    """Return `text` as one paragraph of Markdown that shows it as it is, line by line."""
    return "\\\n".join(map(escape, text.strip().splitlines()))


def fence_code(code: str) -> str:
    """Return `code` as a block of code, between fences longer than any run of backticks in it."""
    fence = "`" * max(3, 1 + max(map(len, re.findall("`+", code)), default=0))
    return f"{fence}\n{code}\n{fence}"

"""What differs between two archives of a study's code, file by file."""

import difflib
from collections.abc import Iterator, Mapping

LARGEST_COMPARED = 250_000
"""Bytes; the lines of larger files are not compared, which takes too long."""


def list_changes(before: Mapping[str, bytes], after: Mapping[str, bytes]) -> list[str]:
    """Return a line for each file that differs: its name, and how many lines were added and removed."""
    names = sorted({*before, *after})
    return list(_list_changes(names, before, after))


def _list_changes(names: list[str], before: Mapping[str, bytes], after: Mapping[str, bytes]) -> Iterator[str]:
    for name in names:
        old, new = before.get(name), after.get(name)
        if old == new:
            continue
        what = " (new)" if old is None else " (removed)" if new is None else ""
        yield f"{name}{what}: {_count_lines(old or b'', new or b'')}"


def _count_lines(old: bytes, new: bytes) -> str:
    if b"\0" in old + new or len(old) + len(new) > LARGEST_COMPARED:
        return f"{len(old)} bytes before, {len(new)} now"
    matcher = difflib.SequenceMatcher(None, old.splitlines(), new.splitlines())
    edits = [edit for edit in matcher.get_opcodes() if edit[0] != "equal"]
    if not edits and old and new:
        return "other line ends"
    added, removed = sum(edit[4] - edit[3] for edit in edits), sum(edit[2] - edit[1] for edit in edits)
    return f"+{added} -{removed} lines"

"""notes.py: a note taken apart again."""

import pytest

from hpsearch.dashboard import notes


@pytest.mark.parametrize("own", ["", "mine", "a\n\n---\n\nb\n", "\tindented", f"quoting {notes.SEPARATOR} once more"])
def test_own_part_of_a_note_comes_back(own: str) -> None:
    """What somebody wrote is what is stored, whatever was computed above it then and whatever it holds."""
    served = notes.join_note("computed **then**", own)
    assert notes.extract_written(served) == own
    assert notes.extract_written(served.replace("then", "edited")) == own
    assert notes.extract_written(served.replace("\n", "\r\n")) == own.replace("\n", "\r\n")


def test_note_without_the_line_is_kept_whole() -> None:
    """Who replaces all of a note has written all of it."""
    assert notes.extract_written("mine\n\nalone") == "mine\n\nalone"

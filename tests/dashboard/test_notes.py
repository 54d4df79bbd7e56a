"""notes.py: Markdown that shows what it is given, and a note taken apart again."""

import html
import re
import string

import pytest
from markdown_it import MarkdownIt

from hpsearch import markdown
from hpsearch.dashboard import notes

NASTY = [
    '<b>"x"</b>',
    "<script>alert(1)</script>",
    "[x](javascript:alert(1))",
    "![x](http://evil.example/x.png)",
    "<javascript:alert(1)>",
    "# no heading",
    "1. no list",
    "- no list",
    "> no quote",
    "```no code",
    "`no` code, *no* stress, __no__ stress, ~~no~~ stroke",
    "| no | table |",
    "&lt;b&gt; &#60;",
    "\\*",
    "a\\",
    "    no code",
    "===",
    "---",
    "ünï 日本 %s",
    string.punctuation,
    *string.punctuation,
]


def rendered(markdown: str) -> str:
    """The text of a paragraph of Markdown; anything but text and line breaks in it is a fault."""
    page = MarkdownIt("commonmark").enable(["table", "strikethrough"]).render(markdown).strip()
    found = re.fullmatch(r"<p>(.*)</p>", page, re.DOTALL)
    assert found, page
    lines = found[1].replace("<br />\n", "\n")
    assert "<" not in lines, page
    return html.unescape(lines)


@pytest.mark.parametrize("text", NASTY)
def test_escaped_text_shows_as_it_is(text: str) -> None:
    """Markdown and HTML in a description are characters like any other."""
    assert rendered(markdown.escape(text)) == text.strip()


def test_lines_of_a_description_stay_lines() -> None:
    """A description of several lines is shown in several, each without its indentation."""
    assert rendered(markdown.escape("\n".join(NASTY))) == "\n".join(text.strip() for text in NASTY)
    assert rendered(markdown.escape("\nfirst\r\n\n   - third  \n")) == "first\n\n- third"


def test_empty_text_is_nothing() -> None:
    """No description is no paragraph."""
    assert markdown.escape("") == markdown.escape(" \n ") == ""


@pytest.mark.parametrize("own", ["", "mine", "a\n\n---\n\nb\n", "\tindented", f"quoting {notes.LINE} once more"])
def test_own_part_of_a_note_comes_back(own: str) -> None:
    """What somebody wrote is what is stored, whatever was computed above it then and whatever it holds."""
    served = notes.join_note("computed **then**", own)
    assert notes.extract_written(served) == own
    assert notes.extract_written(served.replace("then", "edited")) == own
    assert notes.extract_written(served.replace("\n", "\r\n")) == own.replace("\n", "\r\n")


def test_note_without_the_line_is_kept_whole() -> None:
    """Who replaces all of a note has written all of it."""
    assert notes.extract_written("mine\n\nalone") == "mine\n\nalone"

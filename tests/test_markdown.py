"""markdown.py: text that shows as it is, and blocks of code that cannot be left."""

import html
import re
import string

import pytest
from markdown_it import MarkdownIt

from hpsearch import markdown

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


def rendered(source: str) -> str:
    """The text of a paragraph of Markdown; anything but text and line breaks in it is a fault."""
    page = MarkdownIt("commonmark").enable(["table", "strikethrough"]).render(source).strip()
    paragraph = re.fullmatch(r"<p>(.*)</p>", page, re.DOTALL)
    assert paragraph, page
    lines = paragraph[1].replace("<br />\n", "\n")
    assert "<" not in lines, page
    return html.unescape(lines)


@pytest.mark.parametrize("text", NASTY)
def test_escaped_text_shows_as_it_is(text: str) -> None:
    """Markdown and HTML in a description are characters like any other."""
    assert rendered(markdown.escape(text)) == text.strip()
    assert rendered(markdown.escape_lines(text)) == text.strip()


def test_lines_of_a_description_stay_lines() -> None:
    """A description of several lines is shown in several, each without its indentation."""
    assert rendered(markdown.escape_lines("\n".join(NASTY))) == "\n".join(text.strip() for text in NASTY)
    assert rendered(markdown.escape_lines("\nfirst\r\n\n   - third  \n")) == "first\n\n- third"


def test_empty_text_is_nothing() -> None:
    """No description is no paragraph."""
    assert markdown.escape("") == markdown.escape_lines("") == markdown.escape_lines(" \n ") == ""


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("learning_rate 0.001", "learning_rate 0.001"),
        (":-: no table", r"\:-: no table"),
        ("_x_ and a_b", r"\_x\_ and a_b"),
        ("# no title", r"\# no title"),
        ("- no list", r"\- no list"),
        ("1. no list", r"1\. no list"),
        ("0.7158", "0.7158"),
        ("a|b", r"a\|b"),
        ("two\nlines\n\n# one", r"two lines \# one"),
        ("<b>&amp;</b>", r"\<b\>\&amp;\</b\>"),
        ("`x` [a](b) ![c](d) ~~e~~ $f$ \\", r"\`x\` \[a\](b) \!\[c\](d) \~\~e\~\~ \$f\$ \\"),
    ],
)
def test_markdown_shows_every_letter(text: str, shown: str) -> None:
    """What Markdown would take for markup is escaped, and nothing else."""
    assert markdown.escape(text) == shown


def test_listing_cannot_end_its_fence() -> None:
    """A listing that holds a fence is put between longer ones."""
    assert markdown.fence_code("a\n````\nb") == "`````\na\n````\nb\n`````"

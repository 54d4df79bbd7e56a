"""The documentation, as far as a program can hold it to the code."""

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from hpsearch.outcomes import TrialOutcome
from hpsearch.spec import loader

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
ON_CODE = [page for page in PAGES if page.stem in ("architecture", "CONTRIBUTING") or page.parent.name == "decisions"]
LINK = re.compile(r"\]\(([^)#\s]*)(?:#([^)\s]*))?\)")
CODE = re.compile(r"`([\w./-]+/[\w.-]*|[\w-]+\.py)`")
ATTRIBUTE = re.compile(r"`([a-z_]+)\.([A-Za-z_]+)`")
PLACES = (ROOT, ROOT / "hpsearch")


def prose(page: Path) -> str:
    """Return a page without its blocks of code."""
    return re.sub(r"^ *```.*?^ *```", "", page.read_text("utf-8"), flags=re.MULTILINE | re.DOTALL)


def anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", prose(page), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def broken_links(page: Path) -> Iterator[str]:
    for target, anchor in LINK.findall(prose(page)):
        if "://" in target:
            continue
        file = (page.parent / target).resolve() if target else page
        if not file.exists() or (anchor and anchor not in anchors(file)):
            yield f"{target}#{anchor}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_somewhere(page: Path) -> None:
    """A relative link names a file that is there, and a heading that it has."""
    assert list(broken_links(page)) == []


def test_every_page_is_in_the_index() -> None:
    """docs/README.md, or the index of the decisions, links each page."""
    indices = [ROOT / "docs" / "README.md", ROOT / "docs" / "decisions" / "README.md"]
    linked = {(index.parent / target).resolve() for index in indices for target, _ in LINK.findall(index.read_text())}
    assert [
        str(page) for page in PAGES if page.is_relative_to(ROOT / "docs") and page not in {*linked, indices[0]}
    ] == []


@pytest.mark.parametrize("page", ON_CODE, ids=lambda page: page.stem)
def test_every_named_file_is_there(page: Path) -> None:
    """A path in code font is one of the repository or of hpsearch as they are, a bare name that of some module."""
    named = {name for name in CODE.findall(prose(page)) if name.endswith(("/", ".py", ".md"))}
    modules = {file.name for directory in ("hpsearch", "benchmarks") for file in (ROOT / directory).rglob("*.py")}
    there = {name for name in named if name in modules or any((place / name).exists() for place in PLACES)}
    assert sorted(named - there) == []


@pytest.mark.parametrize("page", ON_CODE, ids=lambda page: page.stem)
def test_every_named_function_is_there(page: Path) -> None:
    """What a page calls `module.name` is defined in a module of that name."""
    for module, name in ATTRIBUTE.findall(prose(page)):
        files = list((ROOT / "hpsearch").rglob(f"{module}.py"))
        defined = re.compile(rf"^(def|class) {name}\b|^{name}\b.* = ", re.MULTILINE)
        if files and f".{name}" not in (".py", ".md"):
            assert any(defined.search(file.read_text("utf-8")) for file in files), f"{module}.{name}"


def test_the_table_of_outcomes_is_that_of_the_code() -> None:
    """docs/architecture.md has a row for each outcome, with what follows from it."""
    text = (ROOT / "docs" / "architecture.md").read_text("utf-8").partition("## How a trial can end")[2]
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line.startswith("| ")
    ]
    yes = {True: "yes", False: "no"}
    expected = [
        [str(each), each.state.optuna, yes[each.is_retried], yes[each.is_infeasible], yes[each.restarts_trainer]]
        for each in TrialOutcome
    ]
    rows = rows[1 : 1 + len(expected)]
    assert [[row[0], *row[2:6]] for row in rows] == expected
    assert ["a guess" in row[6] for row in rows] == [each.counts_as_guess for each in TrialOutcome]


def test_the_annotated_study_file_is_one() -> None:
    """The TOML of docs/study-file-example.md is a study, also with what is commented out in it."""
    [block] = re.findall(r"```toml\n(.*?)```", (ROOT / "docs/study-file-example.md").read_text("utf-8"), re.DOTALL)
    for text in (block, re.sub(r"^# (\w+ = )", r"\1", block, flags=re.MULTILINE)):
        assert loader.from_dict(tomllib.loads(text)).study.name == "cifar10-cnn"

"""docs/study-file.md: its tables and examples are what the code has."""

import re
from pathlib import Path

import pytest

from hpsearch.spec import loader, reference

PAGE = Path(__file__).parents[2] / "docs/study-file.md"


@pytest.mark.parametrize("name", reference.make_tables())
def test_the_page_has_every_table(name: str) -> None:
    """Each table has a place on the page, so that `python -m hpsearch.spec.reference docs/study-file.md` fills it."""
    assert f"<!-- table: {name} -->" in PAGE.read_text()


def test_the_tables_are_those_of_the_code() -> None:
    """The page lists every key, hyperparameter and option with its default as the code has them."""
    assert reference.fill_tables(PAGE.read_text()) == PAGE.read_text()


def test_every_example_in_the_reference_is_a_study() -> None:
    """What docs/study-file.md shows of a file can be copied into one."""
    text = PAGE.read_text()
    blocks = re.findall(r"(?:^    .*\n)+", text, re.MULTILINE)
    files = [block.replace("\n    ", "\n")[4:] for block in blocks if block.startswith("    [")]
    assert len(files) == 5
    for file in files:
        searched = '[space]\noptimizer = ["adam", "nesterov"]\nlearning_rate = { low = 1e-4, high = 1e-1 }\n'
        head = searched if file.startswith("[[") else ""
        assert loader.from_toml(head + file, name="example").study.name == "example"


def test_the_annotated_example_is_the_default_study_with_its_defaults_written_out() -> None:
    """docs/study-file-example.md can be copied into a file."""
    page = PAGE.with_name("study-file-example.md").read_text()
    (example,) = re.findall(r"^```toml\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    assert loader.from_toml(example).budget == loader.load(None).budget
    assert loader.from_toml(example).fingerprint == loader.load(None).fingerprint

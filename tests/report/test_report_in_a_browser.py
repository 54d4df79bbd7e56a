"""The report in a real browser that reaches nothing else."""

from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from hpsearch.report import report
from hpsearch.report.material import read_source
from hpsearch.storage.database import Database
from tests.support.simulation import Simulation

NAME = '<b>"x"</b> & $a$'
SEARCH = {
    "study": {"name": NAME, "description": "Which <i>optimizer</i> is best?"},
    "budget": {"epochs": 3, "repeats": 2, "patience": 9},
    "space": {"optimizer": ["sgd", "adam"], "batch_norm": [True, False]},
    "sampler": {"name": "grid"},
}
PATIENCE = 90_000
"""Milliseconds: a busy machine draws slowly."""


@pytest.fixture
def page(storage: str, tmp_path: Path) -> Path:
    """The report of a grid with repeats whose name is full of markup."""
    database = Database(storage)
    Simulation(database, SEARCH).run(8)
    source = database.transact(lambda connection: read_source(connection, NAME))
    database.close()
    return report.write(source, tmp_path / "out")


def test_report_opens_offline(page: Path, browser: Browser) -> None:
    """Without a network every section is there and every figure drawn, and nothing was asked for nor went wrong."""
    faults: list[str] = []
    context = browser.new_context(viewport={"width": 1200, "height": 900}, offline=True)
    context.set_default_timeout(PATIENCE)
    opened = context.new_page()
    opened.on("pageerror", lambda error: faults.append(str(error)))
    opened.on("console", lambda message: faults.append(message.text) if message.type != "log" else None)
    opened.on("request", lambda request: faults.append(request.url) if request.url != page.as_uri() else None)
    opened.goto(page.as_uri())
    opened.wait_for_selector("body[data-drawn=all]")
    expect(opened.locator("h1")).to_have_text(NAME)
    expect(opened.locator("#the-question")).to_contain_text("Which <i>optimizer</i> is best?")
    sections = opened.locator("section")
    for title in ("The answer", "Effects", "Learning curves", "Cost", "Confusion matrices", "Environment"):
        expect(sections.get_by_role("heading", name=title, exact=True)).to_be_visible()
    drawn = opened.locator("figure .plot .main-svg").first
    expect(drawn).to_be_visible()
    assert opened.locator("figure .plot.js-plotly-plot").count() == opened.locator("figure").count() >= 12
    best = opened.locator("#confusion-best")
    expect(best.locator(".gtitle, .annotation-text").first).to_contain_text("of 1,000 images correct")
    expect(best.locator(".heatmap-label")).to_have_count(100)
    expect(best.locator("text").filter(has_text="automobile").first).to_be_visible()
    expect(opened.locator("#effects text").filter(has_text="adam (4)")).to_be_visible()
    context.close()
    assert faults == []

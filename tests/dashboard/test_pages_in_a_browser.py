"""The dashboard in a real browser, served by the real command over a study of ours."""

import contextlib
import io
import json
import mimetypes
import os
import re
import signal
import uuid
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

import optuna
import pytest
from playwright.sync_api import Browser, Error, Page, expect
from sqlalchemy import text

from hpsearch.dashboard.plot_artifacts import PlotArtifactStore
from hpsearch.metrics import EpochMetrics
from hpsearch.outcomes import TrialOutcome
from hpsearch.sampling import suggest
from hpsearch.sampling.readonly_storage import ReadOnlyStorage
from hpsearch.spec import loader
from hpsearch.storage import attempts, claims, study_creation, workers
from hpsearch.storage.artifacts import output
from hpsearch.storage.artifacts.output import Output
from hpsearch.storage.attempts import Attempt
from hpsearch.storage.database import Database, parse_url
from hpsearch.storage.studies import Study
from hpsearch.storage.workers import WorkerIdentity
from tests.conftest import create_database
from tests.support import simulation
from tests.support.commands import run_dashboard

NAME = '<b>"x"</b> / ünï 日本 %s'
QUESTION = "Is *this* <i>markup</i> or a [link](javascript:alert(1))?"
RATES = [10 ** (-4 + 0.25 * step) for step in range(12)]
SEARCH: dict[str, Any] = {
    "study": {"name": NAME, "description": QUESTION},
    "budget": {"trials": 20, "epochs": 3},
    "data": {"name": "digits"},
    "space": {
        "learning_rate": {"low": 1e-4, "high": 1e-1, "log": True},
        "optimizer": ["sgd", "adam"],
        "batch_norm": [True, False],
    },
    "pruner": {"name": "none"},
    "baseline": [
        {"learning_rate": rate, "optimizer": ("sgd", "adam")[n % 2], "batch_norm": n % 3 == 0}
        for n, rate in enumerate(RATES)
    ],
}
PATIENCE = 60_000
"""Milliseconds: the page asks for news every ten seconds, and a busy machine draws slowly."""


class Searcher:
    """A worker that trains nothing: it claims trials and stores the epochs it is told."""

    def __init__(self, database: Database, study: Study, worker: str = "w") -> None:
        self.database, self.study = database, study
        self.holder = WorkerIdentity(worker, "host", "CPU")
        self.history = ReadOnlyStorage(study.study_id, study.spec.direction)
        database.transact(lambda c: workers.register(c, self.holder, os.getpid()))

    def begin(self, *values: float) -> Attempt:
        """Claim a trial, sample it, and store an epoch for each value."""
        attempt = self.database.transact(lambda c: claims.claim_trial(c, self.study.study_id, self.holder))
        assert attempt is not None
        self.database.transact(self.history.refresh)
        _, writes = suggest.suggest(self.study.spec, self.history, attempt.trial_id, attempt.trial_number)
        self.database.transact(lambda c: attempts.store_parameters(c, attempt, writes))
        for epoch, value in enumerate(values, start=1):
            metrics = EpochMetrics(epoch, 1.0, 0.4, 1.1, value, 0.01, 2.0)
            self.database.transact(lambda c: simulation.record(c, attempt, metrics, self.history))
        return attempt

    def finish(self, attempt: Attempt, ending: TrialOutcome = TrialOutcome.COMPLETED) -> None:
        """End the trial."""
        self.database.transact(lambda c: attempts.finish(c, attempt, ending, {"weights": 1250858}))


def search(database: Database) -> Searcher:
    """Return a worker on a new study: 12 complete trials, whose value follows the learning rate, and a diverged one."""
    worker = Searcher(database, study_creation.start(database, loader.from_dict(SEARCH)).study)
    for number in range(len(RATES)):
        value = 0.2 + 0.05 * number
        worker.finish(worker.begin(value / 4, value / 2, value))
    worker.finish(worker.begin(0.1, float("nan")), TrialOutcome.DIVERGED)
    return worker


@pytest.fixture
def searcher(database: Database) -> Searcher:
    """A worker as `search` leaves it, on a database of the test's own."""
    return search(database)


@pytest.fixture(scope="module")
def searched(server: str, template: str) -> Iterator[str]:
    """The URL of a database as `search` leaves it, for tests that change nothing."""
    with create_database(server, f"test_{uuid.uuid4().hex[:12]}", template) as url:
        with closing(Database(url)) as database:
            search(database)
        yield url


@contextmanager
def serving(storage: str, *options: str, **environment: str) -> Iterator[str]:
    """Where `hpsearch dashboard` says that it is; it ends with 0 when told to."""
    with run_dashboard("--storage", storage, *options, **environment) as (running, address):
        yield address
        running.send_signal(signal.SIGTERM)
        assert running.wait(30) == 0


@pytest.fixture(scope="module")
def address(searched: str) -> Iterator[str]:
    """Where a read-only dashboard is, over the database that no test changes."""
    with serving(searched) as address:
        yield address


@pytest.fixture
def own_address(storage: str) -> Iterator[str]:
    """Where a read-only dashboard is, over the test's own database."""
    with serving(storage) as address:
        yield address


@contextmanager
def visiting(browser: Browser, address: str) -> Iterator[Page]:
    """The dashboard's first page; at the end, no request of the browser's has failed and no script has."""
    context = browser.new_context(viewport={"width": 1400, "height": 1000})
    context.set_default_timeout(PATIENCE)
    opened = context.new_page()
    faults: list[str] = []
    opened.on("pageerror", lambda error: faults.append(str(error)))
    opened.on("requestfailed", lambda request: faults.append(request.url))
    opened.on("response", lambda got: faults.append(f"{got.status} {got.url}") if got.status >= 400 else None)
    opened.goto(address)
    yield opened
    seen = list(faults)  # to close is to break off what is still being asked for
    context.close()
    assert seen == []


@pytest.fixture
def page(browser: Browser, address: str) -> Iterator[Page]:
    """The first page of the dashboard that tests share."""
    with visiting(browser, address) as page:
        yield page


def open_study(page: Page) -> None:
    """Go from the list of studies to ours, as a user would, once its answer is there: a page does not wait for long."""
    assert page.request.get(f"{page.url.split('/dashboard')[0]}/api/studies/1/param_importances").ok
    page.get_by_role("link", name=NAME).click()
    expect(page.get_by_text(f"{NAME} (id=1)")).to_be_visible(timeout=PATIENCE)


@pytest.fixture
def settled(database: Database) -> str:
    """The name of a study in which 12 trials without a diverged one settle that the learning rate matters."""
    described = {**SEARCH, "study": {"name": "settled"}}
    study = study_creation.start(database, loader.from_dict(described)).study
    worker = Searcher(database, study, "v")
    for number in range(len(RATES)):
        worker.finish(worker.begin(0.2 + 0.05 * number))
    return study.name


def test_importance_is_drawn_with_its_interval_and_epoch(settled: str, own_address: str, browser: Browser) -> None:
    """Where trials settle what matters, the dashboard's own plot shows our shares, the longest bar on top."""
    with visiting(browser, own_address) as page:
        page.get_by_role("link", name=settled).click()
        importance = page.locator("#graph-hyperparameter-importances")
        rest = re.compile("^(batch_norm|optimizer) at epoch 3: 0")
        names = [rest, rest, re.compile(r"^learning_rate at epoch 3: 0\.\d\d to [01]\.\d\d$")]
        expect(importance.locator(".ytick text")).to_have_text(names, timeout=PATIENCE)
        shares = [float(share) for share in importance.locator(".bartext").all_text_contents()]
        assert shares == sorted(shares)
        assert shares[-1] > 0.9


def test_study_page_shows_its_trials(page: Page) -> None:
    """The list leads to the study, whose page draws history, curves and timeline."""
    open_study(page)
    curves = page.locator("#graph-intermediate-values")
    expect(curves.locator(".legendtext", has_text="trial #0")).to_be_visible(timeout=PATIENCE)
    expect(curves.locator("g.scatterlayer > g.trace")).to_have_count(12, timeout=PATIENCE)  # one ended without a value
    timeline = page.locator("#graph-timeline")
    expect(timeline.locator(".legendtext")).to_have_text(["Complete", "Pruned"], timeout=PATIENCE)
    expect(timeline.locator("g.barlayer g.point")).to_have_count(13, timeout=PATIENCE)
    expect(page.get_by_text("Best Trial (number=11)")).to_be_visible(timeout=PATIENCE)
    expect(page.locator(".ytitle", has_text="val_accuracy")).to_be_visible(timeout=PATIENCE)


def test_study_page_shows_what_the_dashboard_lacks(page: Page) -> None:
    """Learning curves by each searched hyperparameter and accuracy against time; the note says what was asked."""
    open_study(page)
    for name, labels in {
        "curves-optimizer": ["sgd (6)", "adam (6)"],
        "curves-batch_norm": ["on (4)", "off (8)"],
        "time-optimizer": ["sgd", "adam"],
    }.items():
        plot = page.locator(f"[id='user-defined-plot:{name}']")
        expect(plot.locator(".legendtext")).to_have_text(labels, timeout=PATIENCE)
        expect(plot.locator(".xtitle")).to_have_text(re.compile("seconds" if "time" in name else "epoch"))
        drawn = plot.bounding_box()
        assert drawn is not None
        assert drawn["height"] == 450
    page.locator("a[href$='/note']").click()
    expect(page.get_by_text(QUESTION)).to_be_visible()
    expect(page.get_by_text("Trial 11 is best: val_accuracy 75.0% at epoch 3")).to_be_visible()


def test_trial_table_has_a_row_a_trial(page: Page) -> None:
    """The table lists each trial's state, value, hyperparameters and outcome."""
    open_study(page)
    page.locator("a[href$='/smartSelection']").click()
    table = page.locator("table")
    expect(table.locator("thead")).to_contain_text("Param learning_rate", timeout=PATIENCE)
    for column in ("Param optimizer", "Param batch_norm", "UserAttribute outcome", "UserAttribute weights"):
        expect(table.locator("thead")).to_contain_text(column)
    rows = table.locator("tbody tr")
    expect(rows).to_have_count(13, timeout=PATIENCE)
    expect(rows.nth(0).locator("td").nth(1)).to_have_text("Complete")
    for cell in ("0.0001", "0.2", "sgd", "True", "completed", "1250858"):
        expect(rows.nth(0).get_by_text(cell, exact=True)).to_be_visible()
    expect(rows.nth(12)).to_contain_text("Pruned")
    expect(rows.nth(12)).to_contain_text("diverged")


def test_open_page_follows_a_running_trial(searcher: Searcher, own_address: str, browser: Browser) -> None:
    """A trial that begins and ends while its page is open is shown running, then with its value."""
    with visiting(browser, own_address) as page:
        open_study(page)
        page.locator("a[href$='/trials']").click()
        expect(page.get_by_text("13 Trials")).to_be_visible(timeout=PATIENCE)
        attempt = searcher.begin(0.55, 0.66)
        page.get_by_text("Trial 13", exact=True).click()
        expect(page.get_by_text("Trial 13 (trial_id=14)")).to_be_visible()
        expect(page.get_by_text("2 0.66")).to_be_visible()
        searcher.finish(attempt)
        expect(page.get_by_text("Completed At")).to_be_visible(timeout=PATIENCE)
        expect(page.get_by_text("outcome completed")).to_be_visible()


def test_trial_page_has_what_the_trial_prints(browser: Browser, searcher: Searcher, own_address: str) -> None:
    """A running trial's output is a file on its page, and in the browser plain text: no HTML in it is run."""
    # Not the fixture's page, which counts requests that a click on a file breaks off.
    page = browser.new_context().new_page()
    page.set_default_timeout(PATIENCE)
    printed = "<script>document.title = 'run'</script> größer\n"
    attempt = searcher.begin(0.55)
    content = printed.encode()
    whole = Output(content, len(content))
    searcher.database.transact(lambda c: output.store(c, attempt, whole, attach=True))
    root = own_address.split("/dashboard")[0].rstrip("/")
    page.goto(f"{root}/dashboard/studies/1/trials?numbers={attempt.trial_number}")
    expect(page.get_by_text("output.txt")).to_be_visible(timeout=PATIENCE)
    file = page.get_by_label("download artifact")
    link = file.get_attribute("href")
    assert link is not None
    with page.expect_download() as downloading:
        file.click()
    assert downloading.value.suggested_filename == "output.txt"
    assert downloading.value.path().read_text("utf-8") == printed
    opened = page.context.new_page()
    response = opened.goto(f"{root}{link}")
    assert response is not None
    assert response.headers["content-type"] == "text/plain; charset=utf-8"
    assert opened.inner_text("body").strip() == printed.strip()
    assert opened.title() == ""
    page.context.close()


def test_deleting_is_refused_while_read_only(address: str, browser: Browser) -> None:
    """The page's own delete button fails, a script in it is told why, and the study stays."""
    with browser.new_context() as context:
        opened = context.new_page()
        opened.goto(address)
        opened.get_by_role("button", name="delete study").click(timeout=PATIENCE)
        opened.get_by_role("button", name="Yes").click()
        expect(opened.get_by_text("Failed to delete study (id=1)")).to_be_visible(timeout=PATIENCE)
        status, reason = opened.evaluate(
            "async () => { const got = await fetch('/api/studies/1', {method: 'DELETE'});"
            " return [got.status, (await got.json()).reason] }"
        )
        assert status == 403
        assert "--edit" in reason
        opened.reload()
        expect(opened.get_by_role("link", name=NAME)).to_be_visible(timeout=PATIENCE)


def test_password_opens_the_dashboard(searched: str, browser: Browser) -> None:
    """Who does not know it sees nothing; who does sees the studies, as anybody, in any script."""
    secret = "pä55 wörd:日本"
    with serving(searched, HPSEARCH_DASHBOARD_PASSWORD=secret) as url:
        with browser.new_context() as context, pytest.raises(Error, match="ERR_INVALID_AUTH_CREDENTIALS"):
            context.new_page().goto(url)
        with browser.new_context(http_credentials={"username": "me", "password": "wrong"}) as context:
            opened = context.new_page()
            response = opened.goto(url)
            assert response is not None
            assert response.status == 401
            assert "Optuna" not in opened.content()
        with browser.new_context(http_credentials={"username": "me", "password": secret}) as context:
            opened = context.new_page()
            opened.goto(url)
            expect(opened.get_by_role("link", name=NAME)).to_be_visible(timeout=PATIENCE)


def test_note_is_kept_where_editing_is_allowed(searcher: Searcher, storage: str, browser: Browser) -> None:
    """With --edit, what a person writes below a study's computed note is stored alone, and there on the next visit."""
    with serving(storage, "--edit") as url, browser.new_context() as context:
        opened = context.new_page()
        opened.goto(url.replace("/dashboard", "/dashboard/studies/1/note"))
        opened.get_by_role("button").filter(has=opened.get_by_test_id("EditIcon")).click(timeout=PATIENCE)
        editor = opened.get_by_role("textbox").first
        editor.press("Control+End")
        editor.type("mine alone")
        opened.get_by_role("button", name="Save").click()
        expect(opened.get_by_text("Success to save the note")).to_be_visible(timeout=PATIENCE)
        opened.reload()
        expect(opened.get_by_text("mine alone")).to_be_visible(timeout=PATIENCE)
        expect(opened.get_by_text("Trial 11 is best")).to_have_count(1)
    query = text("select value_json from study_system_attributes where key like 'dashboard:note_str:%'")
    assert searcher.database.transact(lambda c: c.scalars(query).all()) == ['"mine alone"']


RUN = "fetch('/ran').then(() => fetch('/api/studies'))"
MARKUP = f"<script>{RUN}</script><img src='/ran'/><style>@import url(/ran)</style>"
HOSTILE = {
    "a.html": f'<!doctype html><body onload="{RUN}">{MARKUP}</body>',
    "a.svg": f'<svg xmlns="http://www.w3.org/2000/svg" onload="{RUN}">{MARKUP}</svg>',
    "a.xhtml": f'<html xmlns="http://www.w3.org/1999/xhtml"><head><title/></head><body>{MARKUP}</body></html>',
    "a.xml": f'<x xmlns:h="http://www.w3.org/1999/xhtml"><h:script>{RUN}</h:script></x>',
    "a.js": RUN,
    "a.txt": RUN,
    "a.png": f"<!doctype html>{MARKUP}",
}
EMBED = """
    path => Promise.all(['script', 'iframe', 'object', 'embed', 'img', 'link'].map(name => new Promise(done => {
        const element = document.createElement(name);
        Object.assign(element, {src: path, data: path, href: path, rel: 'stylesheet', onload: done, onerror: done});
        setTimeout(done, 300);
        document.body.append(element);
    })))
"""


def test_attached_files_do_not_run(searcher: Searcher, storage: str, browser: Browser) -> None:
    """HTML, SVG, XHTML, XML and scripts that somebody attached do nothing, opened or put into the dashboard's page."""
    attached = optuna.storages.get_storage(parse_url(storage, "").render_as_string(hide_password=False))
    paths = []
    for name, content in HOSTILE.items():
        artifact_id = str(uuid.uuid4())
        PlotArtifactStore(searcher.database).write(artifact_id, io.BytesIO(content.encode()))
        kind = mimetypes.guess_type(name)[0]
        metadata = {"artifact_id": artifact_id, "filename": name, "mimetype": kind, "encoding": None}
        attached.set_study_system_attr(searcher.study.study_id, f"artifacts:{artifact_id}", json.dumps(metadata))
        paths.append(f"/artifacts/{searcher.study.study_id}/{artifact_id}")
    with serving(storage) as url, browser.new_context() as context:
        asked: list[str] = []
        context.on("request", lambda request: asked.append(request.url.partition("//")[2].partition("/")[2]))
        root = url.removesuffix("/dashboard")
        page = context.new_page()
        for path in paths:
            with contextlib.suppress(Error):  # a download is no page
                page.goto(root + path)
        page.goto(f"{root}/dashboard")
        expect(page.get_by_role("link", name=NAME)).to_be_visible(timeout=PATIENCE)
        for path in paths:
            page.evaluate(EMBED, path)
        assert sum(path.startswith("artifacts/") for path in asked) >= 2 * len(paths)
        assert "ran" not in asked

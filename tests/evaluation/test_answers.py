"""The whole answer: what stays open beside an ablation, and what the dashboard asks to know that it changed."""

from collections.abc import Mapping
from typing import Any

import pytest

from hpsearch.analysis.answer import Answer
from hpsearch.evaluation import answers
from hpsearch.storage import dashboard_queries, study_control
from hpsearch.storage.database import Database
from hpsearch.storage.studies import Study
from tests.support.ablated_study import request_ablation, train_all, train_trial

RATES = tuple(0.0001 * 2**step for step in range(10))


def get_value(params: Mapping[str, Any], number: int) -> float:
    return 0.5 + 0.1 * float(params["optimizer"] == "adam") + 0.001 * (number % 7)


def answer(database: Database) -> Answer:
    return answers.answer(database.transact(lambda c: answers.read_answer_source(c, "small")))


@pytest.fixture
def searched(finished_search: Any) -> Study:
    """A search whose ten trials settle little; the last one is the sampler's."""
    baseline = [{"optimizer": ("sgd", "adam")[n % 2], "learning_rate": rate} for n, rate in enumerate(RATES[:-1])]
    values = [[0.1, 0.3 + 0.01 * (n * 7 % 10)] for n in range(len(RATES))]
    study: Study = finished_search(*values, rates=RATES, baseline=baseline)
    return study


def test_what_is_open_has_a_price(searched: Study, database: Database) -> None:
    """An open question comes with the ablation that settles it; nothing is made by asking."""
    found = answer(database)
    assert found.price is not None
    assert found.sentences.open[-1].startswith(
        f"hpsearch ablate {searched.name} compares them at the end of training: at most {found.price['trials']} trials"
    )
    assert found.ablation is None


def test_a_whole_ablation_closes_what_was_open(searched: Study, database: Database) -> None:
    """What each hyperparameter does around the best trial stands in place of what the search left open."""
    train_all(database, request_ablation(database, searched.name), get_value)
    found = answer(database)
    assert found.sentences.open == ()
    assert found.sentences.ablation
    assert found.ablation is not None


def test_an_ablation_without_a_verdict_closes_nothing(searched: Study, database: Database) -> None:
    """One that was stopped at its beginning leaves open what was."""
    before = answer(database).sentences.open[:-1]
    ablation = request_ablation(database, searched.name)
    train_trial(database, ablation, get_value)
    assert answer(database).sentences.open[:-1] == before
    database.transact(lambda c: study_control.stop(c, ablation.summary.study.name))
    assert answer(database).sentences.open == before


@pytest.mark.parametrize("options", [{"trial": 3}, {"levels": "optimizer=sgd"}])
def test_an_ablation_of_something_else_closes_nothing(
    searched: Study, database: Database, options: dict[str, Any]
) -> None:
    """Around another trial than the best, or of some levels, it says what it found, and the rest stays open."""
    before = answer(database).sentences.open[:-1]
    levels = [options.pop("levels")] if "levels" in options else []
    train_all(database, request_ablation(database, searched.name, *levels, **options), get_value)
    found = answer(database)
    assert found.sentences.open == before
    assert any("trial" in line for line in found.sentences.ablation)


def test_the_dashboard_sees_that_an_ablation_went_on(searched: Study, database: Database) -> None:
    """A study's version differs once it has an ablation, and once a trial of that has ended."""

    def read() -> tuple[object, ...] | None:
        return database.transact(lambda c: dashboard_queries.read_study_version(c, searched.study_id))

    versions = [read()]
    ablation = request_ablation(database, searched.name)
    versions.append(read())
    train_trial(database, ablation, get_value)
    versions.append(read())
    assert len(set(versions)) == 3

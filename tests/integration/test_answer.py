"""One study's answer, wherever it is shown: every page, command and call has the same figures and sentences."""

import json
import math
import re
from collections.abc import Callable
from typing import Any

import numpy as np

import hpsearch
from hpsearch.analysis.answer import Answer
from hpsearch.cli import quickstart
from hpsearch.outcomes import TrialOutcome
from hpsearch.report import report
from hpsearch.report.material import prepare_material, read_source
from hpsearch.storage.attempts import Attempt
from hpsearch.storage.database import Database
from hpsearch.storage.studies import Study
from tests.support import commands
from tests.support.ablated_study import request_ablation, train_all
from tests.support.dashboard_client import DashboardClient
from tests.support.small_study import finish_trial

Started = Callable[..., Study]
Begin = Callable[..., Attempt]

TRIALS = 40
SPACE: dict[str, Any] = {
    "learning_rate": {"low": 1e-4, "high": 1e-1, "log": True},
    "optimizer": ["sgd", "adam"],
    "batch_norm": [True, False],
}


def draw_baselines() -> list[dict[str, Any]]:
    """Return random configurations."""
    random = np.random.default_rng(0)
    return [
        {
            "learning_rate": float(10 ** random.uniform(-4, -1)),
            "optimizer": str(random.choice(["sgd", "adam"])),
            "batch_norm": bool(random.integers(2)),
        }
        for _ in range(TRIALS - 1)
    ]


def train(database: Database, study: Study, begin: Begin, baseline: list[dict[str, Any]]) -> None:
    """End all trials: at most 12 at the end of training, the others pruned after the first epoch."""
    noise = np.random.default_rng(1)
    for number in range(TRIALS):
        params = baseline[min(number, len(baseline) - 1)]
        value = 0.5 + 0.1 * (params["optimizer"] == "adam") - 0.05 * (math.log10(params["learning_rate"]) + 2.5) ** 2
        value += float(noise.normal(0, 0.01))
        values = (value, value + 0.1, value + 0.2) if number % 3 == 0 else (value,)
        outcome = TrialOutcome.COMPLETED if len(values) == 3 else TrialOutcome.PRUNED
        finish_trial(database, begin(study, *values), outcome)


def test_every_place_shows_the_same_answer(
    database: Database, storage: str, started: Started, begin: Begin, client: DashboardClient
) -> None:
    """The command, its JSON, the notebook, the report, the quickstart, the dashboard's note and its importance plot.

    Before an ablation, of which the price is said, and after it.
    """
    baseline = draw_baselines()
    study = started(
        study={"name": "everywhere", "description": "What matters?"},
        budget={"trials": TRIALS, "epochs": 3},
        space=SPACE,
        sampler={"name": "random"},
        baseline=baseline,
    )
    train(database, study, begin, baseline)
    answer = hpsearch.answer(study.name, storage)
    assert [share.name for share in answer.importance.shares][-1] == "batch_norm"
    assert answer.price is not None
    assert f"at most {answer.price['trials']} trials, " in answer.sentences.open[-1]
    check_every_place(answer, study, database, storage, client)
    ablation = request_ablation(database, study.name)
    train_all(database, ablation, lambda params, number: 0.6 + 0.1 * (params["optimizer"] == "adam") + number / 1e4)
    ablated = hpsearch.answer(study.name, storage)
    assert any("not distinguishable" in line or "worse" in line for line in ablated.sentences.ablation)
    check_every_place(ablated, study, database, storage, client)


def check_every_place(answer: Answer, study: Study, database: Database, storage: str, client: DashboardClient) -> None:
    """What is shown everywhere is this answer."""
    source = database.transact(lambda connection: read_source(connection, study.name))
    others: list[Answer | None] = [prepare_material(source).answer, quickstart.read_answer(database, study)]
    for other in others:
        assert other is not None
        assert (other.importance, other.comparisons, other.sentences) == (
            answer.importance,
            answer.comparisons,
            answer.sentences,
        )
    assert hpsearch.importances(study.name, storage) == answer.importance
    check_document(answer, json.loads(run("answer", study.name, "--json", storage=storage)))
    printed = " ".join(run("answer", study.name, storage=storage).split())
    note = re.sub(r"\\(.)", r"\1", client.study(study)["note"]["body"])
    sections = report.list_sections(prepare_material(source))
    (reported,) = (section for section in sections if section.title == "The answer")
    for sentence in answer.sentences.answer:
        assert f"* {sentence}" in note
        assert sentence in str(reported.blocks)
    for sentence in (*answer.sentences.best, *answer.sentences.ablation, *answer.sentences.open):
        assert sentence in printed
    for share, bar in zip(answer.importance.shares, client.importance(study), strict=True):
        assert bar["importance"] == share.share
        assert bar["name"] == f"{share.name} at epoch {answer.importance.epoch}: {share.low:.2f} to {share.high:.2f}"
        assert f"{share.share:.0%} ({share.low:.0%} to {share.high:.0%})" in printed


def check_document(answer: Answer, document: dict[str, Any]) -> None:
    """The JSON has the figures, unrounded."""
    assert document["importance"]["shares"] == [vars(share) for share in answer.importance.shares]
    for compared, described in zip(answer.comparisons, document["effects"], strict=True):
        assert described["name"] == compared.name
        assert [(each["better"], each["amount"], each["settled"]) for each in described["differences"]] == [
            (each.better, each.amount, each.is_settled) for each in compared.differences
        ]
    assert (document["ablation"] is None) == (answer.ablation is None)
    assert document["price"] == answer.price
    assert document["best"]["number"] == answer.findings.best.number if answer.findings.best else False


def run(*arguments: str, storage: str) -> str:
    """Return what a command prints."""
    ended = commands.hpsearch(*arguments, "--storage", storage, COLUMNS="200")
    assert ended.returncode == 0, ended.stderr
    return ended.stdout

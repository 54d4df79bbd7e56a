"""The first sections of a report, on trials whose truth is known."""

import math
from datetime import UTC, datetime
from typing import Any

import numpy as np

from hpsearch.analysis.anova.level_differences import Where
from hpsearch.evaluation.answers import AnswerSource
from hpsearch.report import answer_sections, material
from hpsearch.report.document import Paragraph, Table
from hpsearch.report.material import ReportMaterial, ReportSource
from tests.support.synthetic_trials import make_summary, make_trial

SPACE: dict[str, Any] = {
    "learning_rate": {"low": 1e-5, "high": 1e-1, "log": True},
    "optimizer": ["sgd", "adam"],
}


def prepare(trials: int, epochs: int = 1) -> ReportMaterial:
    """Return the material of a search in which adam is 10 points above sgd, pruned after its first epoch."""
    random = np.random.default_rng(0)
    prepared_trials = []
    for number in range(trials):
        params = {
            "learning_rate": float(10 ** random.uniform(-5, -1)),
            "optimizer": str(random.choice(SPACE["optimizer"])),
        }
        distance = abs(math.log10(float(str(params["learning_rate"]))) + 3)
        value = 0.4 - 0.02 * distance + 0.1 * (params["optimizer"] == "adam") + random.normal(0, 0.01)
        prepared_trials.append(make_trial(number, params, [value], "pruned", "pruned"))
    summary = make_summary({"space": SPACE, "budget": {"epochs": epochs}}, prepared_trials)
    return material.prepare_material(
        ReportSource(AnswerSource(summary, prepared_trials, None, None, None), (), datetime.now(UTC))
    )


def test_levels_are_compared_at_the_epoch_of_the_importance() -> None:
    """Each cell is the analysis's own difference, and the section says that the end may be another matter."""
    prepared = prepare(60, epochs=9)
    (section,) = answer_sections.compare_levels(prepared)
    assert section.title == "Levels at epoch 1"
    explanation, *tables = section.blocks
    assert isinstance(explanation, Paragraph)
    assert "60 trials at epoch 1" in explanation.text
    assert "no claim about the end" in explanation.text
    table = next(table for table in tables if isinstance(table, Table) and table.columns[0] == "optimizer")
    ((level, space, good),) = table.rows
    assert level == "sgd"
    for cell, where in ((space, Where.SPACE), (good, Where.GOOD)):
        (pair,) = (
            each for each in prepared.answer.importance.differences if each.name == "optimizer" and each.where is where
        )
        assert pair.low <= 0.1 <= pair.high
        assert cell == f"{pair.amount:.1%} worse ({pair.low:.1%} to {pair.high:.1%})".replace("%", "").replace(
            " worse", " points worse"
        )


def test_without_an_importance_no_level_is_compared() -> None:
    """Where too few trials say anything, there is no section."""
    assert answer_sections.compare_levels(prepare(5)) == ()

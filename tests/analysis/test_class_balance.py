"""What is said of the classes, and of a model that guesses."""

from typing import Any

import numpy as np
import pytest
from sklearn.metrics import f1_score

from hpsearch.analysis import class_balance, effects
from hpsearch.analysis.anova import stages
from hpsearch.analysis.answer import answer_study
from hpsearch.metrics import METRICS
from hpsearch.spec.datasets import DataFacts
from tests.support.synthetic_trials import GRID, make_repeated_grid, make_summary, make_trial

FACTS = DataFacts((96, 96, 3), ("healthy", "ill"), (840, 160), (210, 40), (105, 20))
F1 = f1_score(np.repeat([0, 1], [210, 40]), np.zeros(250, dtype=int), average="macro")


def describe(metric: str, **sections: Any) -> list[str]:
    """Return the sentences on the images of a study with that metric."""
    summary = make_summary({**GRID, "study": {"name": "x", "metric": metric}, **sections}, [], facts=FACTS)
    return list(class_balance.describe_images(summary.study.spec))


def test_classes_and_a_guess_are_described() -> None:
    """Images by part, the commonest class, and what it would score by the study's metric and by accuracy."""
    counted, guess = describe("val_f1")
    assert counted == "The images are of 2 classes: 1,000 to train on, 250 for validation, 125 for the test."
    assert guess == (
        "Always guessing the commonest class, healthy (84.0% of the validation images), would score val_f1 "
        f"{F1:.1%}, and val_accuracy 84.0%."
    )
    assert describe("val_accuracy")[1].endswith("would score val_accuracy 84.0%.")


def test_a_guessed_loss_is_in_nats() -> None:
    """The loss of a guess is that of the shares, and no percent."""
    (_, guess), entropy = describe("val_loss"), -0.84 * np.log(0.84) - 0.16 * np.log(0.16)
    assert f"always predicts the classes' shares has val_loss {entropy:.2f} nats" in guess
    assert guess.endswith("healthy (84.0% of the validation images), has val_accuracy 84.0%.")


def test_nothing_is_said_before_a_worker_has_loaded_the_images() -> None:
    """What is not known is not shown."""
    assert list(class_balance.describe_images(make_summary(GRID, []).study.spec)) == []


def test_many_classes_are_the_commonest_and_the_rarest() -> None:
    """A thousand classes are no thousand rows."""
    counts = tuple(range(1, 1001))
    facts = DataFacts((8, 8, 1), tuple(map(str, counts)), counts, counts, counts)
    rows = class_balance.list_classes(facts, 4)
    assert [row.name for row in rows] == ["1000", "999", "2", "1"]
    assert len(class_balance.list_classes(facts, 1000)) == 1000


@pytest.mark.parametrize(("counts", "said"), [((210, 40), True), ((130, 120), False)])
def test_unequal_classes_are_a_caveat(counts: tuple[int, int], said: bool) -> None:
    """A reader of the answer is told what guessing scores, where the classes are far from equal."""
    facts = DataFacts(FACTS.shape, FACTS.classes, counts, counts, counts)
    trials = make_repeated_grid()
    caveats = answer_study(make_summary(GRID, trials, facts=facts), trials).sentences.caveats
    assert any("Always guessing the commonest class, healthy" in caveat for caveat in caveats) is said


def test_analysis_takes_chance_from_the_classes() -> None:
    """The floor, the value of what diverged, the milestones, and the least difference there is."""
    spec = make_summary({**GRID, "study": {"name": "x", "metric": "val_f1"}}, [], facts=FACTS).study.spec
    assert stages.find_floor(spec) == METRICS["val_f1"].bound((210, 40)) > 0.5
    diverged = make_trial(0, {}, [float("nan")], "pruned", "diverged", metric="val_f1")
    assert effects.find_value(spec, diverged) == pytest.approx(F1)
    assert effects.choose_milestones([make_trial(0, {}, (0.97,))], spec.class_counts) == (0.9, 0.95)
    assert METRICS["val_f1"].compute_resolution(spec.class_counts) == 1 / 250


def test_own_images_that_no_worker_has_loaded_have_no_chance() -> None:
    """Nothing is below what is not known, and nothing breaks."""
    spec = make_summary({**GRID, "data": {"path": "flowers"}}, []).study.spec
    assert spec.class_counts == ()
    assert stages.find_floor(spec) == float("-inf")
    assert effects.choose_milestones([], spec.class_counts) == ()

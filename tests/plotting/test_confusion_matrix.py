"""Confusion matrices of trials that were never trained."""

from collections.abc import Sequence
from dataclasses import replace

import pytest

from hpsearch.metrics import Direction
from hpsearch.outcomes import Confusion, TrialState
from hpsearch.plotting import confusion_matrix
from hpsearch.plotting.chart import Heatmap
from hpsearch.plotting.confusion_matrix import ConfusionMatrix
from hpsearch.storage.results import Trial
from tests.support.synthetic_trials import GRID, VALUES, analyze, make_repeated_grid, make_trial

CLASSES = ("cat", "dog")
COUNTS = ((8, 2), (5, 5))


def with_counts(trials: Sequence[Trial], counts: Confusion = COUNTS) -> list[Trial]:
    """Return the trials with that confusion matrix each."""
    return [replace(trial, confusion=counts) for trial in trials]


def test_a_panel_has_counts_and_percents_of_the_row() -> None:
    """Each cell is shaded by its fraction of the true class; the title has the accuracy over all images."""
    (trial,) = with_counts([make_trial(3, {}, [0.65])])
    matrix = confusion_matrix.make_trial_matrix(trial)
    assert matrix is not None
    (panel,) = confusion_matrix.plot_matrices([matrix], CLASSES).panels
    assert panel.title == "trial 3\n65.0% of 20 images correct"
    (heatmap,) = panel.marks
    assert isinstance(heatmap, Heatmap)
    assert heatmap.shades == ((0.8, 0.2), (0.5, 0.5))
    assert heatmap.texts == (("8\n80%", "2\n20%"), ("5\n50%", "5\n50%"))
    assert heatmap.hover is not None
    assert heatmap.hover[1][0] == "5 of 10 images of dog predicted as cat (50.0%)"
    assert [str(pair) for pair in matrix.find_confused_pairs(CLASSES)] == ["dog as cat 50%", "cat as dog 20%"]


def test_a_class_without_images_has_no_percents() -> None:
    """An empty row is shaded as 0, and no image at all has accuracy 0."""
    (trial,) = with_counts([make_trial(0, {}, [0.5])], ((0, 0), (0, 0)))
    matrix = confusion_matrix.make_trial_matrix(trial)
    assert matrix is not None
    assert matrix.accuracy == 0
    heatmap = confusion_matrix.plot_matrices([matrix], CLASSES).panels[0].marks[0]
    assert isinstance(heatmap, Heatmap)
    assert heatmap.shades == ((0.0, 0.0), (0.0, 0.0))


def test_a_trial_without_a_finished_epoch_has_no_matrix() -> None:
    """There is nothing to draw before the first epoch."""
    assert confusion_matrix.make_trial_matrix(make_trial(0, {}, [], TrialState.FAILED, "error")) is None


def test_configurations_are_sums_over_their_seeds() -> None:
    """The complete trials of each optimizer are summed; a pruned one takes no part, and a single one has no others."""
    pruned = make_trial(9, {"optimizer": "adam"}, [0.1], TrialState.PRUNED, "pruned")
    trials = with_counts([*make_repeated_grid(), pruned])
    matrices = confusion_matrix.sum_by_configuration(trials)
    assert [matrix.label for matrix in matrices] == [f"optimizer {name}" for name in VALUES]
    assert [matrix.trials for matrix in matrices] == [(0, 3, 6), (1, 4, 7), (2, 5, 8)]
    assert matrices[0].counts == ((24, 6), (15, 15))
    (title,) = {panel.title.split("\n")[1] for panel in confusion_matrix.plot_matrices(matrices, CLASSES).panels}
    assert title == "65.0% of 60 images correct, sum of 3 trials"
    assert confusion_matrix.sum_by_configuration(trials[:1]) == []


def test_too_many_configurations_are_not_compared() -> None:
    """A search has a configuration for each trial: more than fit side by side are none."""
    trials = with_counts([make_trial(n, {"dropout": n / 100}, [0.5]) for n in range(confusion_matrix.MAX_MATRICES + 1)])
    assert confusion_matrix.sum_by_configuration(trials) == []
    assert len(confusion_matrix.sum_by_configuration(trials[:-1])) == confusion_matrix.MAX_MATRICES


@pytest.mark.parametrize(("direction", "numbers"), [(Direction.MAXIMIZE, (3, 7, 5)), (Direction.MINIMIZE, (0, 1, 2))])
def test_the_best_trial_stands_for_a_level(direction: Direction, numbers: tuple[int, ...]) -> None:
    """Each level has the matrix of its best complete trial, in the direction of the metric."""
    trials = with_counts(make_repeated_grid())
    (effect,) = analyze(GRID, trials).findings.effects
    matrices = confusion_matrix.select_by_level(effect, trials, direction)
    assert [matrix.trials for matrix in matrices] == [(number,) for number in numbers]
    assert matrices[1].label == f"optimizer adam: trial {numbers[1]}"


def test_many_classes_are_those_with_the_most_errors() -> None:
    """Of 60 classes 20 are drawn, the same in every panel, with percents of the whole row; the title says so."""
    names = [f"c{label}" for label in range(60)]
    counts = [[40 if true == guessed else 0 for guessed in range(60)] for true in range(60)]
    for label in range(30, 50):
        counts[label][label - 1 if label > 30 else 49] = 10
        counts[label][0] = 0
    matrices = [ConfusionMatrix(title, (1,), tuple(map(tuple, counts))) for title in ("one", "two")]
    for panel in confusion_matrix.plot_matrices(matrices, names).panels:
        assert panel.title.endswith("\nthe 20 of 60 classes with the most errors")
        (heatmap,) = panel.marks
        assert isinstance(heatmap, Heatmap)
        assert len(heatmap.texts) == 20
        assert heatmap.texts[1][0] == "10\n20%"
        assert heatmap.hover is not None
        assert heatmap.hover[1][0] == "10 of 50 images of c31 predicted as c30 (20.0%)"

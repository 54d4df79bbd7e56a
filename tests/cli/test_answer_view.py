"""The answer on a screen."""

import pytest

from hpsearch.cli import answer_view
from tests.support.synthetic_trials import GRID, SEARCH, analyze, make_repeated_grid, make_search_trials, make_trial


def test_a_search_is_answered_on_a_screen(capsys: pytest.CaptureFixture[str]) -> None:
    """A row for each hyperparameter, the most important first, and the best trial; from how many trials and when."""
    answer = analyze(SEARCH, make_search_trials(120))
    answer_view.print_answer(answer)
    printed = capsys.readouterr().out
    lines = printed.splitlines()
    rows = [line.split()[0] for line in lines if "%" in line and "█" in line]
    assert rows[: len(answer.importance.shares)] == [
        share.name for share in answer.importance.shares if round(answer_view.BAR * share.share)
    ]
    assert f"From {answer.importance.trials} trials at " in printed
    assert f"Trial {answer.summary.best['number'] if answer.summary.best else ''} is best: " in printed
    assert len(lines) <= 40


def test_a_first_answer_is_all_its_sentences(capsys: pytest.CaptureFixture[str]) -> None:
    """What matters, which levels are best and what is open, in that order, with the shares and their intervals."""
    answer = analyze(SEARCH, make_search_trials(120))
    answer_view.print_in_sentences(answer)
    printed = " ".join(capsys.readouterr().out.split())
    assert answer.sentences.matters
    assert answer.sentences.levels
    assert printed.endswith(" ".join(answer.sentences.answer))


def test_a_grid_is_answered_by_its_means(capsys: pytest.CaptureFixture[str]) -> None:
    """What a grid measured stands in sentences, with intervals."""
    answer = analyze({**GRID, "study": {"name": "x", "description": "Which\n optimizer?"}}, make_repeated_grid())
    answer_view.print_answer(answer)
    printed = " ".join(capsys.readouterr().out.split())
    assert printed.startswith("x: Which optimizer? finished: 9 of 9 trials ended (9 complete)")
    assert " ".join(answer.sentences.levels) in printed


@pytest.mark.parametrize("count", [0, 1, 9])
def test_a_study_with_next_to_nothing_is_answered(count: int, capsys: pytest.CaptureFixture[str]) -> None:
    """Too few trials for any figure: what there is, and no table."""
    trials = [
        make_trial(n, {"learning_rate": 1e-3, "optimizer": "sgd"}, [0.2 + 0.01 * n] * 3, "complete", "completed")
        for n in range(count)
    ]
    answer_view.print_answer(analyze(SEARCH, trials, status="running"))
    printed = capsys.readouterr().out
    assert f"running: {count} of 60 trials ended" in printed
    assert "share of the variance" not in printed

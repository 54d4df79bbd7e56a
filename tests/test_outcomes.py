"""The states of trials, and which classes a model takes for which."""

from hpsearch import outcomes
from hpsearch.outcomes import AttemptEnd, TrialOutcome, TrialState

CLASSES = ("cat", "dog", "ship")


def test_every_state_is_that_of_optuna_of_the_same_name() -> None:
    """Reading Optuna's name of a state gives the state back, and three of them are final."""
    assert [TrialState.from_optuna(state.optuna) for state in TrialState] == list(TrialState)
    assert [state.optuna for state in TrialState if state.is_finished] == ["COMPLETE", "PRUNED", "FAIL"]


def test_attempt_ends_as_its_trial_or_leaves_it() -> None:
    """Every outcome of a trial is the end of an attempt too; the other ends have no outcome."""
    assert [AttemptEnd(outcome).outcome for outcome in TrialOutcome] == list(TrialOutcome)
    assert [end.outcome for end in AttemptEnd][len(TrialOutcome) :] == [None] * (len(AttemptEnd) - len(TrialOutcome))


def test_worst_pairs_are_those_with_the_greatest_share_of_their_class() -> None:
    """What counts is the share of a class's images, however many it has, the worst first."""
    pairs = outcomes.find_confused_pairs(((80, 15, 5), (4, 6, 0), (1, 0, 199)), CLASSES)
    assert [str(pair) for pair in pairs] == ["dog as cat 40%", "cat as dog 15%", "cat as ship 5%"]


def test_nothing_confused_is_no_pair() -> None:
    """Neither right answers nor a class without images are confusions."""
    assert outcomes.find_confused_pairs(((5, 0, 0), (0, 0, 0), (0, 0, 5)), CLASSES) == ()

"""What the service says of each search on real training, beside what the grids say is true."""

import time
from collections.abc import Sequence
from functools import cache

import answers_scores
import answers_service
import training_records
from answers_grid import GridTruth
from answers_scores import LandscapeScore
from training_records import StudyRecord


class JudgedSearches:
    """The records of one data set, and the service's answer to each of its searches.

    Raises:
        SystemExit: there are no two repetitions of the grid, or no search.
    """

    def __init__(self, name: str, records: Sequence[StudyRecord]) -> None:
        self.name = name
        self.grids = [record for record in records if record.is_grid]
        self.searches = [record for record in records if not record.is_grid]
        if len({grid.seed for grid in self.grids}) < 2 or not self.searches:
            raise SystemExit(f"{name}: there are no two grids and a search yet: run them first")
        self.epochs = self.searches[0].spec.budget.epochs
        self.truth = cache(self._make_truth)
        timed = [_answer(search) for search in self.searches]
        self.answers = [answer for answer, _ in timed]
        self._seconds = [seconds for _, seconds in timed]

    @property
    def rung(self) -> int:
        """Return the first epoch after which the pruner compares trials."""
        spec = self.searches[0].spec
        return next(epoch for epoch in range(1, self.epochs + 1) if epoch == self.epochs or spec.compares_after(epoch))

    def score(self) -> list[LandscapeScore]:
        """Hold each answer against the truth."""
        return [
            answers_scores.score_answer(self.name, answer, seconds, self.rung, self.epochs, self.truth)
            for answer, seconds in zip(self.answers, self._seconds, strict=True)
        ]

    def _make_truth(self, epoch: int) -> GridTruth:
        return training_records.make_truth(self.grids, self.searches[0], epoch)


def _answer(search: StudyRecord) -> tuple[answers_service.Answer, float]:
    summary, trials = search.read_search()
    begun = time.process_time()
    return answers_service.answer(summary, trials), time.process_time() - begun

"""One training in this process, with a record of what it reports."""

from dataclasses import dataclass, field

import numpy as np

from hpsearch.metrics import EpochMetrics
from hpsearch.outcomes import Confusion, TrainingEnd
from hpsearch.training import fit, loading, preparation
from hpsearch.training.protocol import Released, Stop, Train


@dataclass
class Recorder:
    """Keeps what a training reports, and answers with a Stop where a test wants one."""

    stop_after: int | None = None
    stop_in: tuple[int, int] | None = None
    checkpoint: bool = True
    epochs: list[EpochMetrics] = field(default_factory=list)
    confusions: list[Confusion | None] = field(default_factory=list)
    checkpoints: list[str | None] = field(default_factory=list)
    batches: list[tuple[int, int, int]] = field(default_factory=list)

    def report(self, metrics: EpochMetrics, path: str | None, confusion: Confusion | None) -> Stop | None:
        self.epochs.append(metrics)
        self.confusions.append(confusion)
        self.checkpoints.append(path)
        return Stop(self.checkpoint) if metrics.epoch == self.stop_after else None

    def progress(self, epoch: int, batch: int, batches: int) -> Stop | None:
        self.batches.append((epoch, batch, batches))
        due = self.stop_in is not None and epoch == self.stop_in[0] and batch >= self.stop_in[1]
        return Stop(self.checkpoint) if due else None


def run(job: Train, recorder: Recorder | None = None) -> tuple[TrainingEnd | Released, Recorder]:
    recorder = recorder or Recorder()
    training = preparation.prepare(job, loading.load(job.data))
    return fit.train(training, recorder.report, recorder.progress), recorder


def figures(epochs: list[EpochMetrics]) -> list[list[float]]:
    return [[e.train_loss, e.train_accuracy, e.val_loss, e.val_accuracy, e.learning_rate] for e in epochs]


def predictions(path: str | None) -> np.ndarray:
    import keras

    assert path is not None
    guesses: np.ndarray = keras.models.load_model(path).predict(np.arange(3072).reshape(1, 32, 32, 3) % 256, verbose=0)
    return guesses

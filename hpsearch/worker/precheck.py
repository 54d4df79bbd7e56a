"""Checking a study before GPU days are spent on it: its branches, in a trainer process on this device.

Needs no database. What is checked is in training/sanity_checks.py, what it says in cli/precheck_view.py.
"""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from hpsearch.devices import Gpu
from hpsearch.errors import NotFoundError
from hpsearch.spec import branches
from hpsearch.spec.branches import LAYERS, Branch
from hpsearch.spec.study_spec import StudySpec
from hpsearch.training.protocol import (
    Check,
    Checked,
    Checking,
    DataRequest,
    Finding,
    FromTrainer,
    Layer,
    Network,
    Refused,
)
from hpsearch.worker.trainer_process import TrainerDiedError, TrainerProcess
from hpsearch.worker.wakeup import WakeupPipe

WAIT_SECONDS = 3600.0
"""Between two messages; only a framework that hangs keeps silent so long, and Ctrl-C ends that too."""

WORKERS = (1, 2, 8)


@dataclass
class PrecheckReport:
    """What the checks of a study found so far."""

    spec: StudySpec
    branches: tuple[Branch, ...]
    device: str
    layers: tuple[Layer, ...] = ()
    findings: list[Finding] = field(default_factory=list)
    broken: str | None = None
    """Why the checks ended before their end."""

    def found(self, check: str) -> list[Finding]:
        """The findings of one check."""
        return [finding for finding in self.findings if finding.check == check]

    @property
    def faults(self) -> list[str]:
        """A line for each fault, with the branch that has it."""
        lines = [f"{finding.branch}: {finding.fault}" for finding in self.findings if finding.fault]
        return [*lines, self.broken] if self.broken else lines

    def epoch_seconds(self) -> float | None:
        """The mean over the branches of the space; None where none of them could be measured."""
        measured = {each.branch: each.figures["seconds"] for each in self.found("speed") if not each.fault}
        each = [measured[name] for branch in self.branches if (name := branch.format_name(LAYERS)) in measured]
        return sum(each) / len(each) if each else None

    def study_seconds(self, workers: int) -> float | None:
        """How long the whole study takes `workers` of such a device, if no trial ends early."""
        epoch, budget = self.epoch_seconds(), self.spec.budget
        # A worker trains whole trials: the last one of a round may leave the others idle.
        return None if epoch is None else math.ceil(budget.trials / workers) * budget.epochs * epoch


def run(spec: StudySpec, gpu: Gpu | None, told: Callable[[PrecheckReport, Checking | None], None]) -> PrecheckReport:
    """Check every branch of `spec`.

    Args:
        spec: the study.
        gpu: where to train; None is the CPU.
        told: what is being checked next, and what was found so far; None at the end.

    Raises:
        NotFoundError: the images are not to be had on this host, or the framework does not see the GPU.
    """
    data = DataRequest(spec.data.name, spec.data.train_limit, spec.data.validation, spec.study.seed)
    report = PrecheckReport(spec, branches.list_branches(spec), str(gpu) if gpu else "CPU")
    checking: Checking | None = None
    with _trainer(gpu) as (trainer, alarm):
        try:
            trainer.send(Check(data, spec.study.seed, branches.choose_base(spec), report.branches))
            for message in _messages(trainer, alarm):
                if isinstance(message, Checking):
                    checking = message
                    told(report, checking)
                elif isinstance(message, Network):
                    report.layers = message.layers
                elif isinstance(message, Finding):
                    report.findings.append(message)
        except TrainerDiedError as error:
            at = f"{checking.branch}: " if checking else ""
            doing = f" during the check {checking.check}" if checking else ""
            report.broken = f"{at}{error}{doing}; what was still to be checked is not"
    told(report, None)
    return report


@contextmanager
def _trainer(gpu: Gpu | None) -> Iterator[tuple[TrainerProcess, WakeupPipe]]:
    trainer, alarm = TrainerProcess(gpu), WakeupPipe()
    try:
        yield trainer, alarm
    finally:
        if trainer.alive:
            trainer.kill()  # nothing of it is wanted any more
        trainer.close()
        alarm.close()


def _messages(trainer: TrainerProcess, alarm: WakeupPipe) -> Iterator[FromTrainer]:
    while not isinstance(message := trainer.receive(alarm, WAIT_SECONDS), Checked):
        if isinstance(message, Refused):
            raise NotFoundError(message.detail)
        if blind := trainer.blind():  # what the CPU takes says nothing of the GPU
            raise NotFoundError(blind)
        if message is not None:
            yield message

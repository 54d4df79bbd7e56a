"""Check the branches of a study in a trainer process on this device, before GPU days are spent on it.

Needs no database. The checks are in training/checks/sanity_checks.py; cli/precheck_view.py prints the report.
"""

import math
import textwrap
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from hpsearch.devices import Gpu
from hpsearch.spec import branches
from hpsearch.spec.branches import Branch
from hpsearch.spec.study_spec import StudySpec
from hpsearch.training.protocol import Check, Checked, Checking, DataProgress, Finding, Layer, Network
from hpsearch.training.requests import make_data_request, make_model_request
from hpsearch.worker.local.trainers import start_trainer
from hpsearch.worker.study_code import unpack_locally
from hpsearch.worker.trainer_process import TrainerDiedError

WORKERS = (1, 2, 8)


@dataclass
class PrecheckReport:
    """What the checks of a study have found so far."""

    spec: StudySpec
    branches: tuple[Branch, ...]
    device: str
    layers: tuple[Layer, ...] = ()
    findings: list[Finding] = field(default_factory=list)
    broken: str | None = None
    """Why the checks ended before their end."""

    @property
    def layer_axes(self) -> tuple[str, ...]:
        """What the branches differ in, without the optimizer."""
        return branches.list_axes(self.spec)[1:]

    def list_findings(self, check: str) -> list[Finding]:
        """Return the findings of one check."""
        return [finding for finding in self.findings if finding.check == check]

    @property
    def faults(self) -> list[str]:
        """A line for each fault, which begins with the branch that has it, and where in the user's own code it is."""
        lines = []
        for check, fault in dict.fromkeys((finding.check, finding.fault) for finding in self.findings if finding.fault):
            of_check = self.list_findings(check)
            same = [finding for finding in of_check if finding.fault == fault]
            names = ["every branch"] if 1 < len(of_check) == len(same) else [finding.branch for finding in same]
            lines += [f"{name}: {fault}" for name in names]
            lines += textwrap.indent(same[0].traceback, "  ").splitlines()
        return [*lines, self.broken] if self.broken else lines

    @property
    def notes(self) -> list[str]:
        """A line for each check that says nothing of a branch."""
        return [f"{finding.branch}: {finding.note}" for finding in self.findings if finding.note]

    def estimate_epoch_seconds(self) -> float | None:
        """Return the mean over the branches of the space; None where none of them could be measured."""
        findings = [finding for finding in self.list_findings("speed") if not finding.fault]
        measured = {finding.branch: finding.figures["seconds"] for finding in findings}
        seconds = [
            measured[name] for branch in self.branches if (name := branch.format_name(self.layer_axes)) in measured
        ]
        return sum(seconds) / len(seconds) if seconds else None

    def estimate_study_seconds(self, workers: int) -> float | None:
        """Return how long the study takes on `workers` such devices if no trial ends early; None: not measured."""
        epoch, budget = self.estimate_epoch_seconds(), self.spec.budget
        # A worker trains whole trials: the last one of a round may leave the others idle.
        return None if epoch is None else math.ceil(budget.trials / workers) * budget.epochs * epoch


Show = Callable[[PrecheckReport, DataProgress | Checking | None], None]
"""Called with the report so far and how many images are decoded, or what is checked next; with None at the end."""


def run(spec: StudySpec, gpu: Gpu | None, show: Show) -> PrecheckReport:
    """Check every branch of `spec`.

    Args:
        spec: the study.
        gpu: where to train; None is the CPU.
        show: see `Show`.

    Raises:
        NotFoundError: the images are not on this host and cannot be downloaded, or the framework does not see the GPU.
        UserCodeError: the user's own code cannot be imported, or hangs.
    """
    report = PrecheckReport(spec, branches.list_branches(spec), str(gpu) if gpu else "CPU")
    checking: Checking | None = None
    with unpack_locally(spec.code) as code, start_trainer(gpu) as trainer:
        try:
            trainer.send(_make_message(spec, report.branches, code))
            for message in trainer.receive(Checked):
                if isinstance(message, DataProgress):
                    show(report, message)
                elif isinstance(message, Checking):
                    checking = message
                    show(report, checking)
                elif isinstance(message, Network):
                    report.layers = message.layers
                elif isinstance(message, Finding):
                    report.findings.append(message)
        except TrainerDiedError as error:
            branch = f"{checking.branch}: " if checking else ""
            check = f" during the check {checking.check}" if checking else ""
            report.broken = f"{branch}{error}{check}; what was still to be checked is not"
    show(report, None)
    return report


def _make_message(spec: StudySpec, listed: tuple[Branch, ...], code: Path | None) -> Check:
    return Check(
        make_data_request(spec),
        spec.study.seed,
        branches.choose_base(spec),
        listed,
        branches.list_axes(spec),
        make_model_request(spec),
        code=str(code) if code else None,
        chosen=(*spec.fixed, *spec.space),
    )

"""What `check` prints: the estimate, faults and tables of a report."""

import pytest

from hpsearch.cli import precheck_view
from hpsearch.spec import branches, loader
from hpsearch.training.protocol import Finding, Layer
from hpsearch.worker.local.precheck import PrecheckReport


@pytest.fixture
def report() -> PrecheckReport:
    """Four branches of two networks: relu takes 2 s an epoch, elu 4 s; 5 trials of 3 epochs."""
    space = "[budget]\ntrials = 5\nepochs = 3\n[space]\noptimizer = ['sgd', 'adam']\nactivation = ['relu', 'elu']\n"
    spec = loader.from_toml(space, name="x")
    report = PrecheckReport(
        spec, branches.list_branches(spec), "CPU", (Layer("Dense", (3, 2), 30), Layer("Head", (10,), 10))
    )
    axes = branches.list_axes(spec)
    for branch in branches.select_one_each(report.branches, report.layer_axes, branches.choose_base(spec), axes):
        seconds = {"relu": 2.0, "elu": 4.0}[str(branch.values["activation"])]
        report.findings.append(
            Finding("speed", branch.format_name(report.layer_axes), {"seconds": seconds, "resident": 2**30})
        )
    return report


def test_the_estimate_is_whole_trials_of_mean_epochs(report: PrecheckReport) -> None:
    """Five trials on two workers take as long as three, on eight as long as one."""
    assert report.estimate_epoch_seconds() == 3.0
    assert [report.estimate_study_seconds(workers) for workers in (1, 2, 8)] == [45.0, 27.0, 9.0]
    lines = list(precheck_view.describe_cost(report))
    assert lines[0].endswith("(CPU): 45 s on 1 worker, 27 s on 2 workers, 9 s on 8 workers, each with such a device")
    assert lines[0].startswith("5 trials × 3 epochs × 3.0 s")
    assert lines[1] == "less with pruning and trials at chance"


def test_a_branch_that_could_not_be_measured_has_no_part_in_the_estimate(report: PrecheckReport) -> None:
    """The mean is over what there is, and there is no estimate of nothing."""
    report.findings[1] = Finding("speed", "activation=elu batch_norm=false", {}, "ValueError: no")
    assert report.estimate_epoch_seconds() == 2.0
    report.findings = []
    assert report.estimate_study_seconds(1) is None
    assert list(precheck_view.describe_cost(report)) == []


def test_faults_are_lines_that_begin_with_the_branch(report: PrecheckReport) -> None:
    """Every fault is told, and with it where."""
    assert report.faults == []
    report.findings.append(
        Finding("start", "activation=elu batch_norm=false", {"loss": 9.0, "scaled": 9.0}, "too high")
    )
    report.broken = "it died"
    assert report.faults == ["activation=elu batch_norm=false: too high", "it died"]
    assert precheck_view.describe_finished_check(report, "start") == "a plausible loss at the start: 0 of 1"


def test_the_tables_show_what_there_is(report: PrecheckReport) -> None:
    """A network's percentages are of all its weights; a figure that is missing is a dash."""
    assert list(precheck_view.list_layers(report)) == [
        ("Dense", "3 × 2", "30", "75.0"),
        ("Head", "10", "10", "25.0"),
        ("all", "", "40", "100.0"),
    ]
    report.findings.append(Finding("start", "activation=relu batch_norm=false", {"loss": 2.5, "scaled": 2.3}))
    assert list(precheck_view.list_branches(report)) == [
        ("activation=relu batch_norm=false", "2.500", "2.300", "–", "–", "2.0", "1.0 GiB"),
        ("activation=elu batch_norm=false", "–", "–", "–", "–", "4.0", "1.0 GiB"),
    ]
    report.findings.append(
        Finding("optimizer", "optimizer=adam activation=relu batch_norm=false", {"rate": 0.01, "before": 2, "after": 1})
    )
    assert list(precheck_view.list_optimizers(report)) == [("adam", "0.01", "2.000", "1.000")]

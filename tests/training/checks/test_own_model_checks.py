"""The sanity checks of a user's own model: what is right passes, each fault is found by the check that is for it."""

from collections.abc import Callable
from pathlib import Path

import pytest

from hpsearch.spec import branches, loader
from hpsearch.spec.branches import Branch
from hpsearch.training import loading
from hpsearch.training.checks import sanity_checks
from hpsearch.training.checks.check_context import CheckContext, Figures
from hpsearch.training.protocol import Check, Finding
from hpsearch.training.requests import make_data_request, make_model_request

pytestmark = [pytest.mark.tensorflow, pytest.mark.slow]

CODE = Path(__file__).parents[2] / "support" / "own_code"


def make_job(builder: str, rest: str = "") -> Check:
    """Return the job of checking a model of checked_models.py on the digits."""
    text = f"""
        [study]
        name = "own"
        [data]
        name = "digits"
        train_limit = 200
        validation = 100
        [model]
        build = "checked_models.py:{builder}"
        {rest}
    """
    spec = loader.from_toml(text, directory=CODE)
    return Check(
        make_data_request(spec),
        1,
        branches.choose_base(spec),
        branches.list_branches(spec),
        branches.list_axes(spec),
        make_model_request(spec),
        code=str(CODE),
        chosen=(*spec.fixed, *spec.space),
    )


def check(builder: str, rest: str = "") -> dict[str, Finding]:
    """Return the first finding of each check of such a model."""
    messages = [message for message in sanity_checks.check(make_job(builder, rest)) if isinstance(message, Finding)]
    findings: dict[str, Finding] = {}
    for finding in messages:
        kept = findings.get(finding.check)
        findings[finding.check] = finding if kept is None or (finding.fault and not kept.fault) else kept
    return findings


def check_alone(run: Callable[[CheckContext, Branch], Figures], builder: str, rest: str = "") -> Finding:
    """Return the finding of one check of the first branch of such a model."""
    job = make_job(builder, rest)
    context = CheckContext(loading.load(job.data, CODE), job)
    (finding,) = [
        message
        for message in sanity_checks._run("alone", run, context, job.branches[:1], job.axes)
        if isinstance(message, Finding)
    ]
    return finding


def list_faults(findings: dict[str, Finding]) -> dict[str, str]:
    """Return what is wrong, by check."""
    return {name: finding.fault for name, finding in findings.items() if finding.fault}


def test_a_sound_model_passes_every_check() -> None:
    """Dropout that cannot be turned off, and choices of its own, are no fault."""
    findings = check("sound", "[fixed]\nlearning_rate = 0.01\n[space]\nactivation = ['relu', 'tanh']\n")
    assert list_faults(findings) == {}
    assert list(findings) == ["build", "start", "gradient", "overfit", "optimizer", "resume", "speed"]
    assert findings["gradient"].figures["compared"] > 20
    assert findings["gradient"].note is None
    assert findings["resume"].figures == {"resumed": 0.0, "loaded": 0.0}


def test_a_compiled_model_passes_every_check() -> None:
    """Its own optimizer overfits, lowers the loss and is resumed; the rate is the one it reads."""
    findings = check("compiled", "[space]\nlearning_rate = [0.001, 0.003]\n")
    assert list_faults(findings) == {}
    assert findings["optimizer"].figures["rate"] == pytest.approx(0.003)


def test_a_layer_without_double_precision_is_passed_over() -> None:
    """The gradient is not compared, and that is no fault but said."""
    finding = check_alone(sanity_checks._check_gradient, "single", "[fixed]\nlearning_rate = 0.01\n")
    assert not finding.fault
    assert finding.note is not None
    assert "double precision" in finding.note


@pytest.mark.parametrize(
    ("builder", "run", "words"),
    [
        ("unscaled", sanity_checks._check_start, "scale the pixels"),
        ("forgetful", sanity_checks._check_resume, "get_config has to hold"),
        ("fading", sanity_checks._check_resume, "State outside variables is lost with a stop"),
        ("broken", sanity_checks._check_build, "checked_models.py, line"),
    ],
)
def test_a_fault_is_found_by_the_check_that_is_for_it(
    builder: str, run: Callable[[CheckContext, Branch], Figures], words: str
) -> None:
    """Each says what to do."""
    assert words in (check_alone(run, builder).fault or "")

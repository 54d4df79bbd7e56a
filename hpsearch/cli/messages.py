"""What a command did, in a few lines on stderr, and what to type next."""

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hpsearch.cli.console import name_program, print_answer_line, print_line, print_table
from hpsearch.formatting import format_count
from hpsearch.outcomes import StudyStatus

if TYPE_CHECKING:
    from hpsearch.evaluation.ablation import Ablation, AblationPrice, AblationResult
    from hpsearch.evaluation.export import ExportedModels
    from hpsearch.evaluation.results import EvaluationStatus
    from hpsearch.spec.study_spec import StudySpec
    from hpsearch.storage.results import Summary
    from hpsearch.storage.studies import StudyRow
    from hpsearch.storage.study_control import RetryResult, StatusChange
    from hpsearch.storage.study_creation import StartResult
    from hpsearch.storage.study_deletion import StudyContents

HALTED = {StudyStatus.PAUSED, StudyStatus.STOPPED}
"""What `hpsearch resume` ends."""


def make_started_document(started: "StartResult") -> dict[str, Any]:
    """Return what `start-study --json` prints."""
    study = started.study
    return {
        "study": study.name,
        "made": started.created,
        "status": study.status,
        "fingerprint": study.fingerprint,
        "trials": study.spec.budget.trials,
        "artifacts": study.artifacts,
        "changes": list(started.changes),
        "kept": list(started.kept),
    }


def print_warnings(spec: "StudySpec") -> None:
    """Print what to know before a study's own code goes into the database."""
    for line in spec.code.warnings if spec.code else ():
        print_line(f"warning: {line}")


def print_started(started: "StartResult", storage: str | None) -> None:
    """Print what start-study did, and what to type next."""
    study = started.study
    budget = study.spec.budget
    if started.created:
        print_line(
            f"made study {study.name}: {budget.trials} trials of up to {budget.epochs} epochs "
            f"on {study.spec.data.title}"
        )
        searched = ", ".join(study.spec.searched) or "nothing: the base model"
        print_line(f"  searching {searched}; metric {study.spec.study.metric}")
    else:
        print_line(f"study {study.name} is in the database already, with the same search; it is {_state(study)}")
        for line in started.changes or ("budget and priority are as they were",):
            print_line(f"  {line}")
        for line in started.kept:
            print_line(f"  not taken over: {line}")
    if study.artifacts is not None:
        print_line(f"  checkpoints and models in {study.artifacts}")
    option = " --storage URL" if storage else ""
    print_line("next:")
    if study.status == StudyStatus.PAUSED:
        print_line(f"  {name_program()} resume {shlex.quote(study.name)}{option}    to let it go on")
    print_line(f"  {name_program()} worker{option}       on each GPU host (--gpu 0), or here")
    print_line(f"  {name_program()} dashboard{option}    to watch it")


def print_paused(change: "StatusChange") -> None:
    """Print that a study is paused, and what its running trials do."""
    name = change.study.name
    if change.before == StudyStatus.PAUSED:
        print_line(f"{name} is {_state(change.study, 'paused already')}")
        return
    print_line(f"{name} is {_state(change.study)}")
    if change.claimed:
        print_line(f"  {_trials(change.claimed)} held by workers: told to save and release them within {_renewal()}")
    print_line(f"  {name_program()} resume {shlex.quote(name)} lets it go on")


def print_resumed(change: "StatusChange") -> None:
    """Print that a study goes on, or why it does not."""
    name = change.study.name
    if change.before == StudyStatus.RUNNING:
        print_line(f"{name} is running already")
    elif change.study.status == StudyStatus.FINISHED:
        reason = f": {change.study.reason}" if change.study.reason else ""
        print_line(
            f"{name} has nothing left to do, it is finished{reason}; hpsearch start-study with more --trials extends it"
        )
    else:
        print_line(f"{name} was {change.before} and is running again")


def print_stopped(change: "StatusChange") -> None:
    """Print that a study is stopped, and what becomes of its running trials."""
    name = change.study.name
    if change.before == StudyStatus.FINISHED:
        print_line(f"{name} is finished: nothing of it runs")
        return
    print_line(f"{name} is stopped" + (" already" if change.before == StudyStatus.STOPPED else ""))
    if change.ended:
        print_line(f"  {_trials(change.ended)} held by no worker: ended as pruned")
    if change.claimed:
        print_line(f"  {_trials(change.claimed)} held by workers: ended as pruned within {_renewal()}")
    if change.before != StudyStatus.STOPPED:
        print_line(f"  {name_program()} resume {shlex.quote(name)} lets it go on with what is left of its budget")


def print_retried(retried: "RetryResult") -> None:
    """Print which trials were enqueued."""
    study = retried.study
    if not retried.trials:
        print_line(f"{study.name} has no failed trial that was not tried again already (--trial N tries one once more)")
        return
    for new, old in retried.trials:
        print_line(f"trial {new} repeats trial {old}")
    print_line(f"{study.name} has {_trials(study.spec.budget.trials)} now; it is {_state(study)}")
    if study.status in HALTED:
        print_line(f"  {name_program()} resume {shlex.quote(study.name)} lets it go on")


def describe_deletion(contents: "StudyContents") -> str:
    """Return the question before a study is deleted."""
    return f"delete {describe_contents(contents)}?"


def describe_contents(contents: "StudyContents") -> str:
    """Return a study's name and what is in it."""
    running = f", {contents.running} of them running," if contents.running else ""
    files = format_count(contents.files, "file")
    return f"{contents.study.name} with its {_trials(contents.trials)}{running} and {files}"


def _state(study: "StudyRow", shown: str | None = None) -> str:
    return (shown or study.status) + (f": {study.reason}" if study.reason else "")


def _trials(count: int) -> str:
    return format_count(count, "trial")


def _renewal() -> str:
    from hpsearch.worker.timing import DEFAULT_TIMING

    return f"{DEFAULT_TIMING.renewal:g} s"


def print_requested(status: "EvaluationStatus", *, is_new: bool) -> None:
    """Print what a new evaluation trains; nothing of one that was there already."""
    evaluation = status.evaluation
    if not is_new or evaluation.study is None:
        return
    budget, configurations = evaluation.study.spec.budget, len(evaluation.configurations)
    print_line(
        f"made study {evaluation.study.name}: {format_count(configurations, 'configuration')} × "
        f"{format_count(budget.repeats, 'seed')}, {format_count(budget.epochs, 'epoch')} each, "
        "on training and validation images together"
    )


def print_evaluation(status: "EvaluationStatus", storage: str | None) -> None:
    """Print the result of an evaluation on stdout; while there is none, how far it is and what to type next."""
    from hpsearch.report import evaluation_tables

    evaluation = status.evaluation
    if evaluation.result is None:
        _print_untested(status, storage)
        return
    confusion = evaluation_tables.make_confusion_table(evaluation.result)
    tables = [*evaluation_tables.make_tables(evaluation), *([confusion] if confusion else [])]
    for table in tables:
        print_answer_line(table.caption)
        print_table(table.columns, table.rows)
        sys.stdout.flush()
    for line in evaluation_tables.list_remarks(status):
        print_line(line)


def print_new_ablation(ablation: "Ablation", price: "AblationPrice") -> None:
    """Print what a new ablation trains, and what that takes."""
    design = ablation.design
    print_line(
        f"made study {ablation.summary.study.name}: {format_count(len(design.levels), 'level')} around trial "
        f"{design.trial}" + (f" and {format_count(len(design.path), 'step')} to it" if design.path else "")
    )
    print_line(f"  at most {price.describe()}")


def print_ablation(ablation: "Ablation", result: "AblationResult | None", storage: str | None) -> None:
    """Print the result of an ablation on stdout; while there is none, how far it is and what to type next."""
    from hpsearch.report import ablation_tables

    if result is None or not ablation.is_over:
        _print_progress(ablation.summary, f"ablate {shlex.quote(ablation.ablated.name)}", storage)
    if result is None:
        return
    for table in ablation_tables.make_tables(result):
        print_answer_line(table.caption)
        print_table(table.columns, table.rows)
        sys.stdout.flush()
    for line in ablation_tables.list_remarks(result):
        print_line(line)


def _print_untested(status: "EvaluationStatus", storage: str | None) -> None:
    assert status.summary is not None
    _print_progress(status.summary, f"evaluate {shlex.quote(status.evaluation.evaluated.name)}", storage)


def _print_progress(summary: "Summary", command: str, storage: str | None) -> None:
    """Print how far a study is that was made of another one, and what to type next; `command` shows its result."""
    study, option = summary.study, " --storage URL" if storage else ""
    name = shlex.quote(study.name)
    print_line(f"{study.name} is {_state(study)}: {summary.ended} of {_trials(study.spec.budget.trials)} ended")
    print_line("next:")
    if summary.status in HALTED:
        print_line(f"  {name_program()} resume {name}{option}    to let it go on")
    print_line(f"  {name_program()} worker --drain --study {name}{option}    on each GPU host (--gpu 0), or here")
    print_line(f"  {name_program()} {command}{option}    to see the result")


def print_exported(exported: "ExportedModels") -> None:
    """Print how many models were written where."""
    print_line(
        f"{format_count(exported.models, 'model')} of {exported.study.name} and a README.md are in {exported.directory}"
    )
    if not exported.tested:
        print_line("  their accuracies are on validation images; hpsearch evaluate measures them on test images")


def print_report_path(page: Path) -> None:
    """Print where a report is."""
    print_line(f"the report is {page}, for a browser; beside it is the same as Markdown")

"""What a command did, in a few lines, and what to type next."""

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from hpsearch.cli.console import name_program, print_table, say
from hpsearch.formatting import format_count

if TYPE_CHECKING:
    from hpsearch.evaluation.export import ExportedModels
    from hpsearch.evaluation.results import EvaluationStatus
    from hpsearch.storage.studies import StartResult, Study
    from hpsearch.storage.study_control import RetryResult, StatusChange
    from hpsearch.storage.study_deletion import StudyContents


def tell_started(started: "StartResult", storage: str | None) -> None:
    """What start-study did, and what to type next."""
    study = started.study
    budget = study.spec.budget
    if started.made:
        say(
            f"made study {study.name}: {budget.trials} trials of up to {budget.epochs} epochs on {study.spec.data.name}"
        )
        searched = ", ".join(study.spec.searched) or "nothing: the base model"
        say(f"  searching {searched}; metric {study.spec.study.metric}")
    else:
        say(f"study {study.name} is in the database already, with the same search; it is {_state(study)}")
        for line in started.changes or ("budget and priority are as they were",):
            say(f"  {line}")
        for line in started.kept:
            say(f"  not taken over: {line}")
    if study.artifacts is not None:
        say(f"  checkpoints and models in {study.artifacts}")
    option = " --storage URL" if storage else ""
    say("next:")
    if study.status == "paused":
        say(f"  {name_program()} resume {shlex.quote(study.name)}{option}    to let it go on")
    say(f"  {name_program()} worker{option}       on each GPU host (--gpu 0), or here")
    say(f"  {name_program()} dashboard{option}    to watch it")


def tell_paused(turned: "StatusChange") -> None:
    """That a study is paused, and what its running trials do."""
    name = turned.study.name
    if turned.before == "paused":
        say(f"{name} is {_state(turned.study, 'paused already')}")
        return
    say(f"{name} is {_state(turned.study)}")
    if turned.held:
        say(f"  {_trials(turned.held)} in workers' hands: saved and released within {_renewal()}")
    say(f"  {name_program()} resume {shlex.quote(name)} lets it go on")


def tell_resumed(turned: "StatusChange") -> None:
    """That a study goes on."""
    name = turned.study.name
    if turned.before == "running":
        say(f"{name} is running already")
    elif turned.study.status == "finished":
        reason = f": {turned.study.reason}" if turned.study.reason else ""
        say(
            f"{name} has nothing left to do, it is finished{reason}; hpsearch start-study with more --trials extends it"
        )
    else:
        say(f"{name} was {turned.before} and is running again")


def tell_stopped(turned: "StatusChange") -> None:
    """That a study is stopped, and what becomes of its running trials."""
    name = turned.study.name
    if turned.before == "finished":
        say(f"{name} is finished: nothing of it runs")
        return
    say(f"{name} is stopped" + (" already" if turned.before == "stopped" else ""))
    if turned.ended:
        say(f"  {_trials(turned.ended)} in nobody's hands: ended as pruned")
    if turned.held:
        say(f"  {_trials(turned.held)} in workers' hands: ended as pruned within {_renewal()}")
    if turned.before != "stopped":
        say(f"  {name_program()} resume {shlex.quote(name)} lets it go on with what is left of its budget")


def tell_retried(retried: "RetryResult") -> None:
    """Which trials were enqueued."""
    study = retried.study
    if not retried.trials:
        say(f"{study.name} has no failed trial that was not tried again already (--trial N tries one once more)")
        return
    for new, old in retried.trials:
        say(f"trial {new} repeats trial {old}")
    say(f"{study.name} has {_trials(study.spec.budget.trials)} now; it is {_state(study)}")
    if study.status in {"paused", "stopped"}:
        say(f"  {name_program()} resume {shlex.quote(study.name)} lets it go on")


def describe_deletion(contents: "StudyContents") -> str:
    """The question before a study is deleted."""
    running = f", {contents.running} of them running," if contents.running else ""
    files = format_count(contents.files, "file")
    return f"delete {contents.study.name} with its {_trials(contents.trials)}{running} and {files}?"


def _state(study: "Study", shown: str | None = None) -> str:
    return (shown or study.status) + (f": {study.reason}" if study.reason else "")


def _trials(count: int) -> str:
    return format_count(count, "trial")


def _renewal() -> str:
    from hpsearch.worker.timing import DEFAULT_TIMING

    return f"{DEFAULT_TIMING.renewal:g} s"


def tell_asked(standing: "EvaluationStatus", made: bool) -> None:
    """What an evaluation trains, or that it is the one there was."""
    asked = standing.evaluation
    if not made or asked.study is None:
        return
    budget, configurations = asked.study.spec.budget, len(asked.configurations)
    say(
        f"made study {asked.study.name}: {format_count(configurations, 'configuration')} × "
        f"{format_count(budget.repeats, 'seed')}, {format_count(budget.epochs, 'epoch')} each, "
        "on training and validation images together"
    )


def print_evaluation(standing: "EvaluationStatus", storage: str | None) -> None:
    """The result of an evaluation on stdout; while there is none, how far it is and what to type next."""
    from hpsearch.report import evaluation_tables

    asked = standing.evaluation
    if asked.result is None:
        _tell_untested(standing, storage)
        return
    for board in evaluation_tables.make_tables(standing):
        sys.stdout.write(f"{board.title}\n")
        print_table(board.columns, board.rows)
        sys.stdout.flush()
    for line in evaluation_tables.list_remarks(standing):
        say(line)


def _tell_untested(standing: "EvaluationStatus", storage: str | None) -> None:
    asked, summary = standing.evaluation, standing.summary
    assert asked.study is not None
    assert summary is not None
    counts, name, option = summary.counts, shlex.quote(asked.study.name), " --storage URL" if storage else ""
    ended = sum(counts[state] for state in ("complete", "pruned", "failed"))
    say(f"{asked.study.name} is {_state(summary.study)}: {ended} of {_trials(asked.study.spec.budget.trials)} ended")
    say("next:")
    if summary.status in {"paused", "stopped"}:
        say(f"  {name_program()} resume {name}{option}    to let it go on")
    say(f"  {name_program()} worker --drain --study {name}{option}    on each GPU host (--gpu 0), or here")
    say(f"  {name_program()} evaluate {shlex.quote(asked.evaluated.name)}{option}    to see the result")


def tell_exported(exported: "ExportedModels") -> None:
    """What was written where."""
    say(
        f"{format_count(exported.models, 'model')} of {exported.study.name} and a README.md are in {exported.directory}"
    )
    if not exported.tested:
        say("  their accuracies are on validation images; hpsearch evaluate measures them on test images")


def tell_report(page: Path) -> None:
    """Where a report is."""
    say(f"the report is {page}, for a browser; beside it is the same as Markdown")

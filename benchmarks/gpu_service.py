"""The parts of `gpu.py` that run `hpsearch worker` and what belongs to it, in the database of HPSEARCH_STORAGE.

python benchmarks/gpu_service.py worker|memory|signal|pinning|shares|evaluation
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from gpu_cpu import predict_on_cpu
from gpu_nvml import list_processes
from gpu_rows import call_part, find_gpu, is_quick, leave_out, report

from hpsearch import devices
from hpsearch.devices import Gpu
from hpsearch.outcomes import AttemptEnd, TrialOutcome
from hpsearch.spec import loader
from hpsearch.storage import results, study_creation
from hpsearch.storage.database import Database, connect
from hpsearch.storage.results import Trial
from hpsearch.training.datasets import digits
from hpsearch.worker.trainer_process import GPU_SHARE, TrainerProcess, make_environment
from hpsearch.worker.wakeup import WakeupPipe

COMMAND = (sys.executable, "-m", "hpsearch.cli.main")
POLL = 0.05  # seconds
SMALL: Mapping[str, Any] = {"filters": 8, "dense_units": 32, "batch_size": 32, "optimizer": "adam"}
DIGITS: Mapping[str, Any] = {"name": "digits", "validation": 300} | ({"train_limit": 200} if is_quick() else {})
COMPILING_SECONDS = 1.0
"""How long a trial is built when a worker is told to leave in the middle of compiling."""
RELEASE_SECONDS = 10.0
"""Within how long a worker that is told to leave while it trains has to have released its trial."""


def name_device() -> list[str]:
    """Return the worker's options for the device that is checked."""
    return ["--gpu", "0"] if find_gpu() else ["--cpu"]


def run(*arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    """Run a command of the service to its end."""
    return subprocess.run(
        [*COMMAND, *arguments], env={**os.environ, **environment}, capture_output=True, text=True, check=False
    )


@contextmanager
def start_worker(*options: str) -> Iterator["subprocess.Popen[bytes]"]:
    """Start a worker on the device; it is killed after the block, where it still runs."""
    process = subprocess.Popen([*COMMAND, "worker", *name_device(), *options], stderr=sys.stderr, stdout=sys.stderr)
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


def start_study(database: Database, name: str, trials: int, epochs: int, **sections: Any) -> None:
    """Start a study of small models on digits, but for what `sections` say."""
    study = {
        "study": {"name": name},
        "budget": {"trials": trials, "epochs": epochs, "patience": 10**6},
        "data": DIGITS,
        "fixed": SMALL,
        "space": {"learning_rate": {"low": 1e-3, "high": 1e-2, "log": True}},
        "sampler": {"name": "random"},
        "pruner": {"name": "none"},
    }
    study_creation.start(database, loader.from_dict(study | sections))


def read_trials(database: Database, name: str) -> Sequence[Trial]:
    """Return the trials of a study."""
    return database.transact(lambda connection: results.read(connection, name))[1]


def wait_for_epoch(database: Database, name: str, epoch: int) -> Trial:
    """Return the study's first trial as soon as that epoch of it is stored."""
    while True:
        trial = next(iter(read_trials(database, name)), None)
        if trial and len(trial.epochs) >= epoch:
            return trial
        time.sleep(POLL)


def describe_ends(trials: Sequence[Trial]) -> str:
    """Say how each trial and its attempts ended."""
    return "; ".join(
        f"trial {trial.number} {trial.outcome or trial.state} ({', '.join(str(a.why) for a in trial.history)})"
        for trial in trials
    )


def serve_study() -> None:
    """Serve a study to its end."""
    gpu, trials = find_gpu(), 2
    with connect(None, "benchmark") as database:
        start_study(database, "worker", trials, 3)
        began = time.monotonic()
        done = run("worker", *name_device(), "--drain", "--study", "worker")
        took = time.monotonic() - began
        ended = read_trials(database, "worker")
    if done.returncode:
        print(done.stderr, file=sys.stderr)
    used = {attempt.device for trial in ended for attempt in trial.history}
    precisions = {str(trial.made_by.get("precision")) for trial in ended}
    first = [f"{trial.epochs[0].seconds:.1f}" for trial in ended if trial.epochs]
    later = np.mean([epoch.seconds for trial in ended for epoch in trial.epochs[1:]] or [np.nan])
    outcome = [trial.outcome for trial in ended] == [TrialOutcome.COMPLETED] * trials
    report(
        f"worker {' '.join(name_device())} --drain",
        f"exit {done.returncode}; {describe_ends(ended)}; on {', '.join(used)}, {', '.join(precisions)}; {took:.1f} s, "
        f"first epochs {' and '.join(first)} s, later ones {later:.2f} s",
        outcome and done.returncode == 0 and used == {str(gpu) if gpu else "CPU"},
    )


def run_out_of_memory() -> None:
    """Train a configuration whose weights do not fit an eighth of the GPU in such a slot, then a small one.

    Its dense layers have 2 × 4.8 GB of weights, and Adam keeps twice as much. Too large a batch would do too, but XLA
    was still compiling that for an H100 after two minutes.
    """
    check = "too large for its slot, then the next"
    if find_gpu() is None:
        leave_out(check, "it would take the host's memory")
        return
    with connect(None, "benchmark") as database:
        start_study(
            database,
            "memory",
            2,
            1,
            fixed={"optimizer": "adam", "activation": "maxout", "dense_units": 16384},
            space={"filters": [8, 1024]},
            baseline=[{"filters": 1024}, {"filters": 8}],
        )
        began = time.monotonic()
        done = run("worker", *name_device(), "--slots", "8", "--drain", "--study", "memory")
        took, ended = time.monotonic() - began, read_trials(database, "memory")
    print(done.stderr, *(f"{trial.number}: {trial.detail}" for trial in ended), sep="\n", file=sys.stderr)
    right = [trial.outcome for trial in ended] == [TrialOutcome.OUT_OF_MEMORY, TrialOutcome.COMPLETED]
    report(check, f"{describe_ends(ended)}; {took:.1f} s", right and done.returncode == 0)


def release_on_sigterm() -> None:
    """Tell a worker to leave as soon as it holds a trial, then while it trains; then see the trial go on."""
    with connect(None, "benchmark") as database:
        start_study(database, "signal", 1, 100_000)
        with start_worker("--study", "signal") as worker:
            while not (trials := read_trials(database, "signal")) or not trials[0].history:
                time.sleep(POLL)
            _stop(database, worker, "SIGTERM before the first epoch")
        with start_worker("--study", "signal") as worker:
            # Its weights are known as soon as it is built; the first epoch then compiles.
            while read_trials(database, "signal")[0].weights is None:
                time.sleep(POLL)
            time.sleep(COMPILING_SECONDS)
            _stop(database, worker, "SIGTERM while it compiles")
        with start_worker("--study", "signal") as worker:
            before = wait_for_epoch(database, "signal", 5)
            _stop(database, worker, "SIGTERM while it trains", within=RELEASE_SECONDS)
        kept = read_trials(database, "signal")[0].epochs
        with start_worker("--study", "signal") as worker:
            after = wait_for_epoch(database, "signal", len(kept) + 5)
            _stop(database, worker, "SIGTERM once more", within=RELEASE_SECONDS)
        numbers = [epoch.epoch for epoch in after.epochs]
        report(
            "the trial goes on from its checkpoint",
            f"{len(kept)} epochs stored before, {len(numbers)} after, on {after.history[-1].device}",
            after.epochs[: len(kept)] == kept
            and numbers == list(range(1, len(numbers) + 1))
            and len(before.epochs) <= len(kept),
        )


def _stop(database: Database, worker: "subprocess.Popen[bytes]", check: str, within: float | None = None) -> None:
    trainers = psutil.Process(worker.pid).children()
    began = time.monotonic()
    worker.send_signal(signal.SIGTERM)
    code = worker.wait()
    took = time.monotonic() - began
    attempt = read_trials(database, "signal")[0].history[-1]
    left = [trainer.pid for trainer in trainers if trainer.is_running()]
    right = code == 0 and attempt.why is AttemptEnd.PREEMPTED and not left and (within is None or took <= within)
    report(check, f"released as {attempt.why} and exit {code} after {took:.1f} s, {len(left)} trainers left", right)


def pin() -> None:
    """Start a trainer on the GPU as `--gpu 0` finds it, with and without CUDA_VISIBLE_DEVICES; ask for one too many."""
    gpu = find_gpu()
    if gpu is None:
        leave_out("pinned by UUID and by index", "no GPU")
    else:
        for visible in (None, "0", gpu.uuid, gpu.uuid[:12], f"0,{len(devices.list_gpus()) + 7}"):
            _pin(gpu, visible)
    missing = run("worker", "--gpu", "99")
    lines = missing.stderr.strip().splitlines()
    report("worker --gpu 99", f"exit {missing.returncode}: {lines[-1] if lines else ''}", len(lines) == 1)
    hidden = run("worker", "--gpu", "0", CUDA_VISIBLE_DEVICES="")
    lines = hidden.stderr.strip().splitlines()
    report("--gpu 0 where none is visible", f"exit {hidden.returncode}: {lines[-1] if lines else ''}", len(lines) == 1)


def _pin(gpu: Gpu, visible: str | None) -> None:
    os.environ.pop("CUDA_VISIBLE_DEVICES", None)
    if visible is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = visible
    chosen = devices.find_gpu(0)
    trainer = TrainerProcess(chosen)
    try:
        while trainer.ready is None:
            trainer.receive(WakeupPipe(), 60)
        pinned = psutil.Process(trainer.pid).environ()["CUDA_VISIBLE_DEVICES"]
        holders = list_processes(gpu)
        seen = "by NVML too" if trainer.pid in holders else f"NVML names {sorted(holders)}"
        right = trainer.ready.device == "GPU" and pinned == gpu.uuid == chosen.uuid
        shown = "unset" if visible is None else visible.replace(gpu.uuid, "its UUID")
        report(f"CUDA_VISIBLE_DEVICES {shown}", f"the trainer computes on {trainer.ready.device}, {seen}", right)
    finally:
        trainer.close()


def share() -> None:
    """Let two trainers of a worker with two slots take all the memory they get; then train in two slots."""
    gpu = find_gpu()
    if gpu is None:
        leave_out("memory of 2 slots", "no GPU")
    else:
        _share_memory(gpu)
    trials = 4
    with connect(None, "benchmark") as database:
        start_study(database, "shares", trials, 3 if is_quick() else 40)
        done = run("worker", *name_device(), "--slots", "2", "--drain", "--study", "shares")
        ended = read_trials(database, "shares")
    print(done.stderr, file=sys.stderr)
    spans = [(attempt.began, attempt.ended) for trial in ended for attempt in trial.history if attempt.ended]
    together = max(sum(began <= moment < ended for began, ended in spans) for moment, _ in spans)
    report(
        f"worker {' '.join(name_device())} --slots 2",
        f"exit {done.returncode}; {trials} trials, {together} at once: {describe_ends(ended)}",
        [trial.outcome for trial in ended] == [TrialOutcome.COMPLETED] * trials and together == 2,
    )


def _share_memory(gpu: Gpu) -> None:
    program = str(Path(__file__).with_name("gpu_hold.py"))
    with ExitStack() as stack:
        taken = []
        for _ in range(2):
            environment = dict(make_environment(gpu, 2))
            process = subprocess.Popen(
                [sys.executable, program, str(gpu.memory)],
                env=environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            stack.callback(process.kill)
            assert process.stdout is not None
            taken.append(int(process.stdout.readline()))
    share = gpu.memory * GPU_SHARE / 2
    figure = f"{' and '.join(f'{each / 2**30:.1f}' for each in taken)} GiB each, of {share / 2**30:.1f}"
    report("memory of 2 slots", figure, all(0.9 * share <= each <= share for each in taken))


def evaluate() -> None:
    """Evaluate a study, export the models, and let the CPU predict with them."""
    with connect(None, "benchmark") as database, tempfile.TemporaryDirectory() as directory:
        start_study(database, "evaluation", 2, 3)
        name = "evaluation"
        for _ in range(2):
            done = run("worker", *name_device(), "--drain", "--study", name)
            print(done.stderr, file=sys.stderr)
            evaluated = run("evaluate", "evaluation", "--top", "1", "--seeds", "2", "--json")
            print(evaluated.stderr, file=sys.stderr)
            document = json.loads(evaluated.stdout)
            name = document["evaluation"]
        exported = run("export", "evaluation", f"{directory}/models")
        print(exported.stdout, exported.stderr, file=sys.stderr)
        _, _, images, labels, _ = digits.read_images()
        expected = [
            round(model["accuracy"] * len(labels))
            for configuration in document["result"]["configurations"]
            for model in configuration["models"]
        ]
        found = [
            int((predict_on_cpu(str(path), images, Path(directory)).argmax(axis=1) == labels).sum())
            for path in sorted(Path(directory, "models").glob("*.keras"))
        ]
    report(
        "evaluate and export",
        f"right of {len(labels)} test images: {expected} as evaluated, {found} by the exported models on the CPU",
        len(found) == 2 and all(abs(a - b) <= 1 for a, b in zip(sorted(found), sorted(expected), strict=True)),
    )


if __name__ == "__main__":
    call_part(
        {
            "worker": serve_study,
            "memory": run_out_of_memory,
            "signal": release_on_sigterm,
            "pinning": pin,
            "shares": share,
            "evaluation": evaluate,
        }
    )

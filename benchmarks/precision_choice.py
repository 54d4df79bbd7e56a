"""What `precision = "auto"` chooses against what real epochs say, on this processor and on it kept from instructions.

    python benchmarks/precision_choice.py [--images 500] [--epochs 3] [--models ...] [--quick]

For each model and each limit of ONEDNN_MAX_CPU_ISA, in a process with a cache directory of its own: the seconds that
the choice took, how many times as long a step of the sample takes in float32 as in bfloat16, and how many times as long
an epoch of the model does (CIFAR-10 in HPSEARCH_DATA_DIR, batch 32, a quarter as many validation images, CPU seconds,
both sides in turns after one epoch that compiles). The limits keep oneDNN alone from instructions: they are no other
processor. `--quick` is one epoch of one model.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from typing import Any
from unittest import mock

import numpy as np
from training import machine, markdown, spread

from hpsearch.spec import hyperparameters
from hpsearch.training import backends, loading, preparation
from hpsearch.training.backends import Steps
from hpsearch.training.epoch import choose_validation_batch, predict, run_epoch
from hpsearch.training.loading import ImageArrays
from hpsearch.training.precision import choices
from hpsearch.training.precision.choices import PrecisionChoice
from hpsearch.training.precision.measurement import compare
from hpsearch.training.precision.samples import find_kind
from hpsearch.training.requests import DataRequest, ModelRequest

BATCH = 32
POLICIES = ("float32", "mixed_bfloat16")
LIMITS = ("", "AVX512_CORE_BF16", "AVX512_CORE")
MODELS: Mapping[str, tuple[str, Mapping[str, Any], int]] = {
    "base model": ("cnn", {}, 1),
    "base model with batch norm": ("cnn", {"batch_norm": True}, 1),
    "residual network": ("resnet", {}, 2),
    "VGG16": ("application", {"application": "VGG16"}, 8),
    "ResNet50": ("application", {"application": "ResNet50"}, 8),
    "MobileNetV2": ("application", {"application": "MobileNetV2"}, 8),
}
"""The built-in model, what differs from its defaults, and by how much fewer images it is given."""


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=500)
    parser.add_argument("--epochs", type=int, default=3, help="of each side")
    parser.add_argument("--models", nargs="*", choices=MODELS, default=list(MODELS))
    parser.add_argument("--one", choices=MODELS, help=argparse.SUPPRESS)  # what the processes of this program are given
    parser.add_argument("--quick", action="store_true", help="one epoch of one model")
    options: Any = parser.parse_args()
    if options.quick:
        options.images, options.epochs, options.models = 64, 1, ["base model"]
    if options.one:
        print(json.dumps(measure(options.one, options.images, options.epochs)))
        return
    print(machine() + "\n", flush=True)
    head = ("model", "oneDNN kept to", "chosen", "in, CPU-s", "clock, s", "a step of the sample", "an epoch", "n")
    limits = LIMITS[:1] if options.quick else LIMITS
    rows = [run(name, limit, options) for name in options.models for limit in limits]
    print("How many times as long float32 takes as bfloat16.\n\n" + markdown(head, rows))


def run(name: str, limit: str, options: Any) -> tuple[str, ...]:
    """Measure one model under one limit, in a process of its own; return its row."""
    command = [
        sys.executable,
        __file__,
        "--one",
        name,
        "--images",
        str(options.images),
        "--epochs",
        str(options.epochs),
    ]
    with tempfile.TemporaryDirectory() as cache:
        environment = {**os.environ, "XDG_CACHE_HOME": cache, **({"ONEDNN_MAX_CPU_ISA": limit} if limit else {})}
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
    print(".", end="", file=sys.stderr, flush=True)
    if done.returncode:
        raise SystemExit(f"{name}, {limit or 'no limit'}: {done.stderr[-2000:]}")
    found = json.loads(done.stdout.splitlines()[-1])
    sample = f"{found['sample']:.2f}" if found["sample"] else "not measured"
    chosen = (found["chosen"], f"{found['cpu']:.1f}", f"{found['clock']:.1f}", sample)
    return (name, limit or "all it has", *chosen, spread(found["epochs"]), str(len(found["epochs"])))


def measure(name: str, images: int, epochs: int) -> Mapping[str, Any]:
    """Return the choice for a model, its cost, and the ratios of the sample and of real epochs."""
    model_name, changes, fewer = MODELS[name]
    model = ModelRequest(model_name, weights="none") if model_name == "application" else ModelRequest(model_name)
    values = hyperparameters.make_model_table(model_name).fill_defaults({**changes, "batch_size": BATCH})
    images //= fewer
    dataset = loading.load(DataRequest("cifar10", images, images // 4, 0))
    began = time.process_time(), time.monotonic()
    choice = choices.choose(find_kind(model, values))
    took = time.process_time() - began[0], time.monotonic() - began[1]
    sides = {policy: compile_in(policy, model, values, dataset) for policy in POLICIES}
    for steps in sides.values():
        time_epoch(steps, dataset, 0)
    seconds = {policy: [] for policy in POLICIES}  # type: dict[str, list[float]]
    for epoch in range(1, epochs + 1):
        for policy, steps in sides.items():
            seconds[policy].append(time_epoch(steps, dataset, epoch))
    return {
        "chosen": choice.policy,
        "cpu": took[0],
        "clock": took[1],
        "sample": compare(choice.rounds, *POLICIES),
        "epochs": [float32 / bfloat16 for float32, bfloat16 in zip(*seconds.values(), strict=True)],
    }


def compile_in(policy: str, model: ModelRequest, values: Mapping[str, Any], dataset: ImageArrays) -> Steps:
    """Return the steps of a model that is told that a precision is the fastest, and computes in it."""
    with mock.patch.object(choices, "choose", return_value=PrecisionChoice(policy, {})):
        steps = preparation.compile_model(model, values, dataset, 1).steps
    computed = {
        layer.dtype_policy.name
        for layer in backends.walk_layers(steps.model)
        if hasattr(layer, "kernel") and layer is not steps.model.layers[-1]
    }
    if computed != {policy}:
        raise SystemExit(f"told to compute in {policy}, the model computes in {computed}")
    return steps


def time_epoch(steps: Steps, dataset: ImageArrays, epoch: int) -> float:
    """Return the CPU seconds of an epoch with its validation."""
    began = time.process_time()
    order = np.random.default_rng((1, epoch)).permutation(len(dataset.y_train))
    run_epoch(steps, *dataset.inputs.training, order, BATCH, lambda *_: True)
    predict(steps, dataset.inputs.x_val, choose_validation_batch(BATCH), lambda *_: True)
    return time.process_time() - began


if __name__ == "__main__":
    main()

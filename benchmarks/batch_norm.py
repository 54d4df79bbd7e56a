"""Batch norm's moving averages, Keras's and ours: the validation accuracy of the same weights, epoch by epoch.

    python benchmarks/batch_norm.py [--images 5000] [--epochs 8] [--seeds 5] [--quick]

CIFAR-10 (HPSEARCH_DATA_DIR), batch 128, the search benchmark's images. The two sides differ in the moving averages
alone, which training does not look at: a seed's training accuracy is the same on both but for rounding. `--quick` is
one seed on next to nothing.
"""

import argparse
import sys
from collections.abc import Iterator, Mapping
from typing import Any
from unittest import mock

import keras
from training import spread
from training_sides import accuracies

from hpsearch.spec.hyperparameters import BASE_TABLE
from hpsearch.spec.rows import Value
from hpsearch.training import backends, loading
from hpsearch.training.loading import ImageArrays
from hpsearch.training.requests import DataRequest

BATCH = 128
VALIDATION = 2000

CONFIGURATIONS: Mapping[str, Mapping[str, Value]] = {
    "Adam 0.001, ReLU": {"optimizer": "adam", "learning_rate": 0.001},
    "momentum 0.005, tanh": {"optimizer": "momentum", "learning_rate": 0.005, "activation": "tanh"},
}

Epoch = tuple[float, float]
"""Training and validation accuracy, in percent."""


def keras_own(momentum: float) -> keras.layers.Layer:
    """Make Keras's layer, with Keras's default."""
    return keras.layers.BatchNormalization()


def training(values: Mapping[str, Value], dataset: ImageArrays, epochs: int, seed: int) -> list[Epoch]:
    """Train once; return its epochs."""
    given: Mapping[str, Any] = BASE_TABLE.fill_defaults({**values, "batch_norm": True, "batch_size": BATCH})
    percent = [(100 * trained, 100 * valid) for trained, valid in accuracies(given, dataset, epochs, seed)]
    backends.current.free_memory()
    return percent


def rows(name: str, dataset: ImageArrays, epochs: int, seeds: int) -> Iterator[str]:
    """Yield a configuration's lines of the table: training, then validation with either side's averages."""
    sides: dict[str, list[list[Epoch]]] = {"Keras's": [], "ours": []}
    for seed in range(seeds):
        for side, trainings in sides.items():
            layer = keras_own if side == "Keras's" else backends.current.make_batch_norm
            with mock.patch.object(backends.current, "make_batch_norm", layer):
                trainings.append(training(CONFIGURATIONS[name], dataset, epochs, seed))
            print(".", end="", file=sys.stderr, flush=True)
    yield line(f"{name}: training", [[each[0] for each in epoch] for epoch in zip(*sides["ours"], strict=True)])
    for side, trainings in sides.items():
        yield line(f"validation, {side}", [[each[1] for each in epoch] for epoch in zip(*trainings, strict=True)])


def line(title: str, epochs: list[list[float]]) -> str:
    """Format mean ± standard deviation over seeds, an epoch a column."""
    return f"| {' | '.join([title, *(spread(epoch, 0) for epoch in epochs)])} |"


def main() -> None:
    """Train and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=5000)
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()
    if options.quick:
        options.images, options.epochs, options.seeds = 640, 2, 1
    dataset = loading.load(DataRequest("cifar10", options.images, VALIDATION, 0))
    steps = -(-options.images // BATCH)
    print(f"accuracy in %, mean ± standard deviation of {options.seeds} seeds; {steps} steps an epoch\n")
    print(f"| epoch | {' | '.join(map(str, range(1, options.epochs + 1)))} |")
    print("| --- " + "| ---: " * options.epochs + "|")
    for name in CONFIGURATIONS:
        print("\n".join(rows(name, dataset, options.epochs, options.seeds)), flush=True)


if __name__ == "__main__":
    main()

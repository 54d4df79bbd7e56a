"""Does bfloat16 train to the accuracy of float32? Pairs of trainings that differ in `precision` alone.

    python benchmarks/precision.py [--images 1500] [--epochs 5] [--seeds 5] [--only NAME ...] [--quick]
    python benchmarks/precision.py --table [--images 1500] [--epochs 5] [--records benchmarks/measured/precision]

CIFAR-10. A seed means the same initial weights and order of the images on both sides; all seeds share one split, so
that their spread is that of training and not of the images. Each training is a line of JSON in build/bench/precision/,
and one that is there is not done again. `--table` prints what is there, or in the directory that `--records` names,
without training; `--quick` trains two seeds on next to nothing, to see that all of it works.
"""

import argparse
import json
import statistics
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from hpsearch.spec.hyperparameters import BASE_TABLE
from hpsearch.spec.rows import Value
from hpsearch.training.requests import BASE_MODEL, DataRequest

RESULTS = Path(__file__).parents[1] / "build" / "bench" / "precision"
PRECISIONS = ("float32", "auto")
VALIDATION = 2000

WIDTH: Mapping[str, Value] = {"filters": 16, "dense_units": 256}
"""Half the base model's, so that a core has time for hundreds of trainings."""

ADAM: Mapping[str, Value] = {"optimizer": "adam", "learning_rate": 0.001}

FAST_START: Mapping[str, Value] = {"preprocessing": "standardize", "initializer": "he_normal"}
"""Without it, neither SGD nor a high rate leaves chance in so few steps, and that would compare nothing."""

CONFIGURATIONS: Mapping[str, Mapping[str, Value]] = {
    "base model": {"learning_rate": 0.01, "filters": 32, "dense_units": 512},
    "relu": ADAM,
    "leaky_relu": {**ADAM, "activation": "leaky_relu"},
    "prelu": {**ADAM, "activation": "prelu"},
    "elu": {**ADAM, "activation": "elu"},
    "tanh": {**ADAM, "activation": "tanh"},
    "sigmoid": {**ADAM, "activation": "sigmoid", "batch_norm": True},
    "maxout": {**ADAM, "activation": "maxout"},
    "batch norm": {"learning_rate": 0.01, "batch_norm": True},
    "sgd": {**FAST_START, "optimizer": "sgd", "learning_rate": 0.05},
    "momentum": {"optimizer": "momentum", "learning_rate": 0.01},
    "adagrad": {"optimizer": "adagrad", "learning_rate": 0.01},
    "rmsprop": {"optimizer": "rmsprop", "learning_rate": 0.0005},
    "low rate": {"learning_rate": 0.001},
    "high rate": {**FAST_START, "learning_rate": 0.02},
    "l2": {"learning_rate": 0.01, "l2": 1e-3},
    "augment": {**ADAM, "augment": True, "preprocessing": "standardize"},
}
"""Learning rates such that a few hundred steps teach something; sigmoid learns nothing without batch norm."""


def trainings(
    values: Mapping[str, Value], images: int, epochs: int, seeds: Iterable[int]
) -> Iterator[dict[str, float]]:
    """Yield each seed, and the accuracy of its trained model on the validation images.

    The steps compile once: a seed is nothing but the variables of the model that it starts from.
    """
    import numpy as np

    from hpsearch.training import backends, loading, preparation
    from hpsearch.training.epoch import predict, run_epoch, score

    dataset = loading.load(DataRequest("cifar10", images, VALIDATION, 0))
    hyperparameters: Mapping[str, Any] = BASE_TABLE.fill_defaults({**WIDTH, **values})
    compiled = preparation.compile_model(BASE_MODEL, hyperparameters, dataset, 0)
    model, steps = compiled.model, compiled.steps
    for seed in seeds:
        start = preparation.compile_model(BASE_MODEL, hyperparameters, dataset, seed).model
        for ours, theirs in zip(
            model.variables + model.optimizer.variables, start.variables + start.optimizer.variables, strict=True
        ):
            ours.assign(theirs)
        for epoch in range(1, epochs + 1):
            order = np.random.default_rng((seed, epoch)).permutation(images)
            size = hyperparameters["batch_size"]
            run_epoch(steps, *dataset.inputs.training, order, size, lambda *_: True)
        probabilities = predict(steps, dataset.inputs.x_val, 256, lambda *_: True)
        assert probabilities is not None
        yield {"seed": seed, "accuracy": score(probabilities, dataset.y_val).accuracy}
    backends.current.free_memory()


def measure(file: Path, names: Iterable[str], images: int, epochs: int, seeds: int) -> None:
    """Append each training that is not in the file yet."""
    done = {(line["name"], line["precision"], line["seed"]) for line in lines(file)}
    for name in names:
        for precision in PRECISIONS:
            left = [seed for seed in range(seeds) if (name, precision, seed) not in done]
            values = {**CONFIGURATIONS[name], "precision": precision}
            for training in trainings(values, images, epochs, left) if left else ():
                line = json.dumps({"name": name, "precision": precision, **training})
                with file.open("a") as out:
                    out.write(line + "\n")
                print(line, file=sys.stderr, flush=True)


def lines(file: Path) -> Iterator[dict[str, Any]]:
    """Yield the trainings of a file."""
    if file.exists():
        yield from map(json.loads, file.read_text().splitlines())


def row(name: str, trained: list[dict[str, Any]]) -> str:
    """Return a configuration's line of the table."""
    sides = [{line["seed"]: 100 * line["accuracy"] for line in trained if line["precision"] == p} for p in PRECISIONS]
    both = sorted(sides[0].keys() & sides[1].keys())
    if len(both) < 2:
        return f"| {name} | | | | | |"
    wide, narrow = ([side[seed] for seed in both] for side in sides)
    differences = [b - a for a, b in zip(wide, narrow, strict=True)]
    mean, error = statistics.mean(differences), statistics.stdev(differences) / len(both) ** 0.5
    spread = statistics.stdev(wide)
    cells = [
        name,
        f"{statistics.mean(wide):.1f} ± {spread:.1f}",
        f"{statistics.mean(narrow):.1f} ± {statistics.stdev(narrow):.1f}",
        f"{mean:+.1f} ± {error:.1f}",
        str(len(both)),
        "yes" if abs(mean) <= spread else "no",
    ]
    return f"| {' | '.join(cells)} |"


def table(file: Path) -> str:
    """Return the table of all of a file's configurations, in Markdown."""
    head = ["configuration", "float32, %", "auto, %", "difference", "seeds", "within the seeds' spread"]
    trained = list(lines(file))
    names = dict.fromkeys(line["name"] for line in trained)
    body = [row(name, [line for line in trained if line["name"] == name]) for name in names]
    return "\n".join([f"| {' | '.join(head)} |", "|" + "---|" * len(head), *body])


def main() -> None:
    """Train what is not there yet, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=1500)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--only", nargs="*", choices=CONFIGURATIONS, default=list(CONFIGURATIONS))
    parser.add_argument("--table", action="store_true")
    parser.add_argument("--records", type=Path, default=RESULTS)
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()
    if options.quick:
        options.images, options.epochs, options.seeds = 200, 1, 2
    file = options.records / f"{options.images}-images-{options.epochs}-epochs.jsonl"
    if not options.table:
        file.parent.mkdir(parents=True, exist_ok=True)
        measure(file, options.only, options.images, options.epochs, options.seeds)
    print(table(file))


if __name__ == "__main__":
    main()

"""Seconds an epoch on JPEG files: from hpsearch's cache, against `image_dataset_from_directory` and `fit`.

    python benchmarks/image_files.py [--images 5000] [--epochs 4] [--repeats 3] [--filters 0 8] [--quick]

JPEG files of about 200×200 in five class folders, scaled to 96×96. The sides train the same network of Keras's own
layers and validate after each epoch, each in a process of its own, in turns: `decoding` decodes every epoch, `cache`
is the same with `.cache()`, shuffled and prefetched, `hpsearch` is what a trial does, from images that are in the cache
and streamed. `--filters` is the width of the network; with 0 nothing is trained, the images are only read, which is
what an epoch takes where the device computes faster than that. The first epoch, which compiles, and fills `.cache()`,
is counted apart. CPU is user + system time of the process. First, eight trainings are begun at once on an empty cache:
how many of them decode?
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import mean, stdev
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

if TYPE_CHECKING:
    import keras

    from hpsearch.spec.rows import Value

SIDES = ("decoding", "cache", "hpsearch")
CLASSES = 5
SIZE = 96
BATCH = 64
TRIALS = 8


def write_files(root: Path, count: int) -> None:
    """Write JPEG files of 180 to 220 pixels a side: smooth shapes with some noise, as photographs have."""
    generator = np.random.default_rng(0)
    for number in range(count):
        height, width = generator.integers(180, 221, 2)
        coarse = Image.fromarray(generator.integers(0, 256, (12, 12, 3), dtype=np.uint8))
        pixels = np.asarray(coarse.resize((int(width), int(height)), Image.Resampling.BICUBIC), np.float32)
        noisy = np.clip(pixels + generator.normal(0, 6, pixels.shape), 0, 255).astype(np.uint8)
        directory = root / f"class{number % CLASSES}"
        directory.mkdir(parents=True, exist_ok=True)
        Image.fromarray(noisy).save(directory / f"{number}.jpg", quality=90)


class Clock:
    """Prints CPU and clock seconds of each epoch as a line of JSON."""

    def __init__(self) -> None:
        self._last = (time.process_time(), time.monotonic())

    def mark(self, *_: object) -> None:
        """Print what has passed since the last mark."""
        now = (time.process_time(), time.monotonic())
        print(json.dumps([now[0] - self._last[0], now[1] - self._last[1]]), flush=True)
        self._last = now


def choose_values(filters: int) -> dict[str, Any]:
    """Return the base model's hyperparameters, but for its width; float32 on all sides."""
    from hpsearch.spec.hyperparameters import BASE_TABLE

    steps: dict[str, Value] = {"batch_size": BATCH, "optimizer": "adam", "learning_rate": 0.001}
    return dict(BASE_TABLE.fill_defaults({**steps, "filters": filters, "precision": "float32"}))


def make_request(root: Path) -> Any:
    """Return the request for a fifth of the files to validate on; a test image of each class is the least."""
    from hpsearch.training.requests import DataRequest

    return DataRequest(None, None, 0.2, 0, path=str(root), image_size=(SIZE, SIZE), resize="stretch", test_part=CLASSES)


def run_hpsearch(root: Path, filters: int, epochs: int) -> None:
    """Train as a trial does, on images that are in the cache; they are streamed, resident ones are no slower."""
    from unittest import mock

    from hpsearch.training import fit, loading, preparation
    from hpsearch.training.images import streaming
    from hpsearch.training.protocol import Train

    dataset = loading.load(make_request(root))
    if not filters:
        clock = Clock()
        for epoch in range(epochs):
            order = np.random.default_rng(epoch).permutation(len(dataset.y_train))
            for _ in streaming.split_into_chunks(dataset.x_train, dataset.y_train, order, BATCH):
                pass
            for _ in streaming.read_batches(dataset.x_val, BATCH):
                pass
            clock.mark()
        return
    streamed = mock.patch.object(streaming, "find_resident_limit", return_value=0)
    with tempfile.TemporaryDirectory() as directory, streamed:
        job = Train(choose_values(filters), make_request(root), 1, epochs, "val_accuracy", 99, None, directory)
        training = preparation.prepare(job, dataset)
        clock = Clock()
        fit.train(training, clock.mark, lambda *_: None)


def run_keras(root: Path, filters: int, epochs: int, *, cached: bool) -> None:
    """Train as Keras's documentation does it."""
    import keras
    import tensorflow as tf

    how = {"image_size": (SIZE, SIZE), "batch_size": BATCH, "validation_split": 0.2, "seed": 0, "verbose": False}
    training, validation = keras.utils.image_dataset_from_directory(root, subset="both", **how)
    if cached:
        training = training.cache().shuffle(100).prefetch(tf.data.AUTOTUNE)
        validation = validation.cache().prefetch(tf.data.AUTOTUNE)
    clock = Clock()
    if not filters:
        for _ in range(epochs):
            for _ in training:
                pass
            for _ in validation:
                pass
            clock.mark()
        return
    model = build(filters)
    clock = Clock()
    told = keras.callbacks.LambdaCallback(on_epoch_end=clock.mark)
    model.fit(training, epochs=epochs, validation_data=validation, verbose=0, callbacks=[told])


def build(filters: int) -> "keras.Model":
    """Return the same network, compiled without XLA, which is several times slower for it on a CPU."""
    from hpsearch.training import model_building
    from hpsearch.training.backends import STOCK
    from hpsearch.training.loading import PixelStatistics
    from hpsearch.training.recipe.optimizers import make_optimizer
    from hpsearch.training.requests import BASE_MODEL

    values, statistics = choose_values(filters), PixelStatistics((127.5,) * 3, (64.0,) * 3)
    model = model_building.build(BASE_MODEL, values, (SIZE, SIZE, 3), CLASSES, 1, statistics, STOCK)
    optimizer = make_optimizer(values)
    model.compile(optimizer, "sparse_categorical_crossentropy", metrics=["accuracy"], jit_compile=False)
    return model


def run_side(side: str, root: Path, filters: int, epochs: int) -> None:
    """Train one side and print its lines; `decode` only reads the images, and prints how often it decoded."""
    if side == "hpsearch":
        run_hpsearch(root, filters, epochs)
    elif side == "decode":
        from hpsearch.training import loading

        decoded: list[int] = []
        loading.load(make_request(root), None, lambda done, total: decoded.append(done))
        print(int(max(decoded) > 0), flush=True)
    else:
        run_keras(root, filters, epochs, cached=side == "cache")


def start(side: str, root: Path, filters: int, epochs: int, cache: Path) -> "subprocess.Popen[str]":
    """Start a side's process."""
    command = [sys.executable, __file__, "--side", side, str(root), str(filters), str(epochs)]
    hidden = {"CUDA_VISIBLE_DEVICES": "-1", "TF_CPP_MIN_LOG_LEVEL": "3"}
    environment = {**os.environ, **hidden, "XDG_CACHE_HOME": str(cache)}
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=environment)


def read_lines(process: "subprocess.Popen[str]") -> list[Any]:
    """Return the JSON lines a process printed, once it has ended well."""
    out, _ = process.communicate()
    if process.returncode:
        raise SystemExit(f"{process.args!r} failed")
    return [json.loads(line) for line in out.splitlines() if line.startswith(("[", "0", "1"))]


def compare(root: Path, filters: int, epochs: int, repeats: int, cache: Path) -> None:
    """Print a line a side, and how much faster hpsearch is."""
    runs: dict[str, list[list[list[float]]]] = {side: [] for side in SIDES}
    for _ in range(repeats):
        for side in SIDES:
            runs[side].append(read_lines(start(side, root, filters, epochs, cache)))
    means: dict[str, tuple[float, float]] = {}
    for side, lines in runs.items():
        cpu, clock = zip(*(np.mean(run[1:], axis=0) for run in lines), strict=True)
        first = mean(run[0][1] for run in lines)
        means[side] = (mean(cpu), mean(clock))
        spread = [f"{mean(column):.2f} ± {stdev(column) if repeats > 1 else 0:.2f}" for column in (cpu, clock)]
        what = f"filters {filters}" if filters else "reading alone"
        print(f"{what}, {side}: {spread[0]} CPU-s an epoch, {spread[1]} s, the first {first:.1f} s")
    for side in SIDES[:2]:
        ratios = [theirs / ours for theirs, ours in zip(means[side], means["hpsearch"], strict=True)]
        what = f"filters {filters}" if filters else "reading alone"
        print(f"{what}: {ratios[1]:.2f}× as fast as {side} by the clock, {ratios[0]:.2f}× by CPU seconds")


def count_decodings(root: Path, cache: Path) -> None:
    """Print how many of eight trainings that begin at once decode the images."""
    processes = [start("decode", root, 0, 0, cache) for _ in range(TRIALS)]
    decoded = sum(read_lines(process)[-1] for process in processes)
    print(f"{TRIALS} trainings at once on an empty cache: {decoded} decoded the images")


def main() -> None:
    """Measure and print."""
    if sys.argv[1:2] == ["--side"]:
        side, files, *numbers = sys.argv[2:]
        run_side(side, Path(files), *map(int, numbers))
        return
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=5_000)
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--filters", type=int, nargs="+", default=[0, 8])
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()
    images, epochs, repeats = (200, 2, 1) if options.quick else (options.images, options.epochs, options.repeats)
    print(f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}")
    with tempfile.TemporaryDirectory() as directory:
        root, cache = Path(directory) / "files", Path(directory) / "cache"
        write_files(root, images)
        size = sum(file.stat().st_size for file in root.rglob("*.jpg")) / images
        print(f"{images:,} files of {size / 1e3:.0f} kB, {SIZE}×{SIZE}, batch {BATCH}; n = {repeats}")
        count_decodings(root, cache)
        for filters in options.filters:
            compare(root, filters, epochs, repeats, cache)


if __name__ == "__main__":
    main()

"""Images that do not fit the device: how much memory their training takes, and what the streaming costs.

    python benchmarks/image_memory.py [--images 20000] [--repeats 5] [--quick]

`memory`: images of 224×224×3 in a file, as the cache has them, trained for an epoch on the CPU and validated, in a
process of its own; its peak resident memory. `streaming`: 20,000 images of CIFAR-10's size, which are kept resident or
streamed, epochs in turns in one process. Pixels are random, the model is tiny. CPU is user + system time.
"""

import argparse
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from statistics import mean, stdev
from unittest import mock

import numpy as np

from hpsearch.spec.hyperparameters import BASE_TABLE
from hpsearch.spec.rows import Value
from hpsearch.training import fit, preparation
from hpsearch.training.images import streaming
from hpsearch.training.images.parts import ArraySource, ImagePart, ImageSource
from hpsearch.training.images.stores import ImageStore, ImageWriter
from hpsearch.training.loading import ImageArrays
from hpsearch.training.protocol import Train
from hpsearch.training.requests import DataRequest

CLASSES = tuple("abcdefghij")
TINY: Mapping[str, Value] = {"filters": 4, "dense_units": 8, "batch_size": 64, "optimizer": "adam"}


def make_dataset(source: ImageSource) -> ImageArrays:
    """Return random labels for the images of `source`: four fifths train, a tenth each validates and tests."""
    count = source.shape[0]
    labels = np.random.default_rng(0).integers(0, len(CLASSES), count)
    parts = np.split(np.arange(count), [count * 8 // 10, count * 9 // 10])
    arrays = [array for rows in parts for array in (ImagePart(source, rows), labels[rows])]
    return ImageArrays(*arrays, CLASSES, "")  # type: ignore[call-arg, arg-type]  # alternating


def make_job(directory: str, epochs: int) -> Train:
    """Return a training of a tiny model."""
    data, values = DataRequest(None, None, None, 0), BASE_TABLE.fill_defaults(TINY)
    return Train(values, data, 1, epochs, "val_accuracy", 99, None, directory)


def write_store(path: Path, count: int) -> None:
    """Write `count` images of 224×224×3, each other pixels."""
    writer = ImageWriter(path, (count, 224, 224, 3))
    generator = np.random.default_rng(0)
    for index in range(count):
        writer.write(index, generator.integers(0, 256, (224, 224, 3), dtype=np.uint8))
    writer.close()


def train_once(path: str, count: int) -> None:
    """Train an epoch on the images at `path`, and print this process's peak memory and the seconds."""
    dataset = make_dataset(ImageStore(Path(path), (count, 224, 224, 3)))
    with tempfile.TemporaryDirectory() as directory:
        job = make_job(directory, 1)
        began = time.monotonic()
        fit.train(preparation.prepare(job, dataset), lambda *_: None, lambda *_: None)
    how = "streamed" if isinstance(dataset.inputs.x_train, ImagePart) else "resident"
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(how, peak, time.monotonic() - began)


def measure_memory(count: int) -> None:
    """Print what a process takes that trains on a file of images."""
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "pixels"
        write_store(path, count)
        command = [sys.executable, __file__, "--side", str(path), "--images", str(count)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    how, peak, seconds = done.stdout.split()[-3:]
    size = count * 224 * 224 * 3
    print(
        f"memory: {count:,} images of 224×224×3, {size / 1e9:.2f} GB of pixels, {how}: "
        f"peak {int(peak) / 1e9:.2f} GB, {float(seconds):.0f} s an epoch (n = 1)"
    )


def measure_streaming(count: int, repeats: int) -> None:
    """Print seconds an epoch of resident and of streamed images, in turns."""
    pixels = np.random.default_rng(0).integers(0, 256, (count, 32, 32, 3), dtype=np.uint8)
    figures: dict[str, list[tuple[float, float]]] = {"resident": [], "streamed": []}
    with tempfile.TemporaryDirectory() as directory:
        for _ in range(repeats):
            for how, limit in (("resident", 2**62), ("streamed", 0)):
                with mock.patch.object(streaming, "find_resident_limit", return_value=limit):
                    dataset = make_dataset(ArraySource(pixels))
                    marks: list[tuple[float, float]] = []

                    def mark(*_: object, marks: list[tuple[float, float]] = marks) -> None:
                        marks.append((time.process_time(), time.monotonic()))

                    fit.train(preparation.prepare(make_job(directory, 3), dataset), mark, lambda *_: None)
                # From the first epoch's end: that epoch compiles.
                (cpu, clock), (last_cpu, last_clock) = marks[0], marks[-1]
                figures[how].append(((last_cpu - cpu) / 2, (last_clock - clock) / 2))
    for how, runs in figures.items():
        spread = [
            f"{mean(column):.2f} ± {stdev(column) if len(column) > 1 else 0:.2f}" for column in zip(*runs, strict=True)
        ]
        what = f"{how}, {count:,} images of 32×32×3"
        print(f"streaming: {what}: {spread[0]} CPU-s an epoch, {spread[1]} s (n = {len(runs)})")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=20_000)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--side", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.side:
        train_once(options.side, options.images)
        return
    print(f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}")
    measure_memory(300 if options.quick else options.images)
    measure_streaming(1_000 if options.quick else 20_000, 2 if options.quick else options.repeats)


if __name__ == "__main__":
    main()

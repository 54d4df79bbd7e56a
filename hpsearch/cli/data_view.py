"""What `hpsearch data` prints of a study's images, and how the progress of their decoding is shown."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from hpsearch.cli import console
from hpsearch.formatting import format_count
from hpsearch.training.protocol import DataPrepared, DataProgress

COLUMNS = ("class", "training", "validation", "test")


@contextmanager
def show_progress() -> Iterator[Callable[[DataProgress], None]]:
    """Show on stderr how many images are decoded, where it is a terminal."""
    with console.make_console(stderr=True).status("loading the framework") as status:
        yield lambda progress: status.update(describe_progress(progress))


def describe_progress(progress: DataProgress) -> str:
    """Return `preparing images 1,200 of 5,000`, or `downloading 12 of 98 MB`."""
    if progress.is_download:
        total = f" of {progress.total / 1e6:,.0f}" if progress.total else ""
        return f"downloading {progress.done / 1e6:,.0f}{total} MB" if progress.done else "waiting for a download"
    return f"preparing images {progress.done:,} of {progress.total:,}"


def print_prepared(title: str, prepared: DataPrepared) -> None:
    """Print classes with their counts, and what there is to know of the images, on stdout."""
    console.print_answer_line(describe_images(title, prepared))
    sys.stdout.flush()
    console.print_table(COLUMNS, list_classes(prepared))
    for line in describe_files(prepared):
        console.print_answer_line(line)
    sys.stdout.flush()
    if warning := describe_duplicates(prepared):
        console.print_line(warning)


def describe_images(title: str, prepared: DataPrepared) -> str:
    """Return how many images there are, of which size."""
    facts = prepared.facts
    images = sum(sum(counts) for counts in (facts.training, facts.validation, facts.test))
    height, width, channels = facts.shape
    return f"{title}: {images:,} images of {height} × {width} × {channels} in {len(facts.classes):,} classes"


def list_classes(prepared: DataPrepared) -> Iterator[tuple[str, ...]]:
    """Yield each class with its images in each part, and the sum."""
    facts = prepared.facts
    counts = (facts.training, facts.validation, facts.test)
    for name, *parts in zip(facts.classes, *counts, strict=True):
        yield name, *(f"{count:,}" for count in parts)
    yield "all", *(f"{sum(part):,}" for part in counts)


def describe_files(prepared: DataPrepared) -> Iterator[str]:
    """Yield what was passed over, and where the pixels are."""
    if prepared.passed_over:
        reasons = [f"{reason}: {number:,}" for reason, number in prepared.passed_over.items()]
        yield f"passed over: {format_count(sum(prepared.passed_over.values()), 'file')} ({', '.join(reasons)})"
    if prepared.place:
        yield f"{prepared.size / 1e6:,.1f} MB of pixels in {prepared.place}"
    else:
        yield f"{prepared.size / 1e6:,.1f} MB of pixels"


def describe_duplicates(prepared: DataPrepared) -> str | None:
    """Return the warning about images that are in several parts; None where there are none."""
    duplicates = prepared.duplicates
    if duplicates is None:
        return None
    images = "1 image has" if duplicates.count == 1 else f"{duplicates.count:,} images have"
    return (
        f"warning: {images} the same pixels as one of another part, as {duplicates.first} and {duplicates.second}: "
        "what was trained on is no test"
    )

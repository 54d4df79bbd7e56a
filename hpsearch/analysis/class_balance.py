"""How many images each class has, and what guessing the commonest one would score, for whoever reads a value."""

from collections.abc import Iterator
from dataclasses import dataclass

from hpsearch.formatting import ACCURACY, format_metric
from hpsearch.metrics import METRICS, compute_shares
from hpsearch.spec.datasets import DataFacts
from hpsearch.spec.study_spec import StudySpec

UNEQUAL = 1.5
"""How many times its equal share the commonest class has where a reader is warned."""


@dataclass(frozen=True)
class ClassRow:
    """A class, and how many images it has in each part."""

    name: str
    training: int
    validation: int
    test: int


def list_classes(facts: DataFacts, most: int) -> tuple[ClassRow, ...]:
    """Return a row for each class, in the order of the labels; of more than `most`, the commonest and the rarest."""
    columns = facts.classes, facts.training, facts.validation, facts.test
    rows = tuple(ClassRow(*row) for row in zip(*columns, strict=True))
    if len(rows) <= most:
        return rows
    ranked = sorted(rows, key=lambda row: -row.training)
    return (*ranked[: most // 2], *ranked[-(most // 2) :])


def describe_images(spec: StudySpec) -> Iterator[str]:
    """Yield how many images and classes there are, and what a guess would score; nothing while that is not known."""
    facts = spec.facts
    if facts is None:
        return
    training, validation, test = (sum(counts) for counts in (facts.training, facts.validation, facts.test))
    parts = f"{training:,} to train on, {validation:,} for validation, {test:,} for the test"
    if spec.evaluation:
        parts = f"{training:,} to train on, {test:,} for the test"
    yield f"The images are of {len(facts.classes):,} classes: {parts}."
    yield describe_guess(spec, facts)


def describe_guess(spec: StudySpec, facts: DataFacts) -> str:
    """Return what a model would score that always guesses the commonest class, or their shares where that is a loss."""
    counts, metric = facts.validation, METRICS[spec.study.metric]
    images = "test" if spec.evaluation else "validation"
    commonest = facts.classes[max(range(len(counts)), key=lambda number: counts[number])]
    share = f"{compute_shares(counts)[0]:.1%} of the {images} images"

    def score(name: str) -> str:
        measured = METRICS[name].test_title if spec.evaluation else name
        return f"{measured} {format_metric(METRICS[name].guess(counts), None, name)}"

    if not metric.is_fraction:
        return (
            f"A model that always predicts the classes' shares has {score(metric.name)}; one that always guesses the "
            f"commonest class, {commonest} ({share}), has {score(ACCURACY)}."
        )
    also = "" if metric.name == ACCURACY else f", and {score(ACCURACY)}"
    return f"Always guessing the commonest class, {commonest} ({share}), would score {score(metric.name)}{also}."


def is_unequal(facts: DataFacts) -> bool:
    """Return whether the commonest class is so common that guessing it looks like knowledge."""
    return compute_shares(facts.validation)[0] > UNEQUAL / len(facts.classes)

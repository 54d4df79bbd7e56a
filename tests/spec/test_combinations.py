"""Values that are each in bounds, and that no trial could train with together."""

import pytest

from tests.support.study_files import list_faults, read

EXPONENTIAL = 'schedule = "exponential" never reaches final_rate = 0.0: a final_rate above 0, or another schedule'
DIGITS = '[data]\nname = "digits"\n'
SMALL = '[data]\npath = "flowers"\nimage_size = 64\n[model]\nname = "application"\n'


@pytest.mark.parametrize(
    ("text", "faults"),
    [
        ('[fixed]\nschedule = "exponential"\nfinal_rate = 0.0', [f"fixed.final_rate: {EXPONENTIAL}"]),
        (
            '[fixed]\nfinal_rate = 0.0\n[space]\nschedule = ["cosine", "exponential"]',
            [f"space.schedule: {EXPONENTIAL}"],
        ),
        (
            '[fixed]\nschedule = "exponential"\n[space]\nfinal_rate = { low = 0.0, high = 0.1 }',
            [f"space.final_rate: {EXPONENTIAL}"],
        ),
        (
            '[space]\nschedule = ["cosine", "exponential"]\nfinal_rate = [0.01, 0.0]',
            [f"space.final_rate: {EXPONENTIAL}"],
        ),
        (
            '[space]\nschedule = ["step", "cosine", "exponential"]\n'
            'final_rate = { choices = [0.0], when = { schedule = ["cosine", "exponential"] } }',
            [f"space.final_rate: {EXPONENTIAL}"],
        ),
        (
            '[model]\nname = "application"\n[data]\nname = "digits"\n[fixed]\napplication = "Xception"',
            [
                "fixed.application: images of 32×32 are too small for Xception: take them from 71×71 up, or another "
                "application"
            ],
        ),
        (
            f'{SMALL}[space]\napplication = ["InceptionV3", "MobileNet", "Xception"]',
            [
                f"space.application: images of 64×64 are too small for {name}: take them from {size}×{size} up, or "
                "another application"
                for name, size in (("InceptionV3", 75), ("Xception", 71))
            ],
        ),
        (
            SMALL.replace("64", "[20, 90]"),
            [
                "model: images of 20×90 are too small for EfficientNetB0: take them from 32×32 up, or another "
                "application"
            ],
        ),
        (
            f"{DIGITS}[space]\nblocks = [2, 4]\nfilter_size = {{ low = 3, high = 10 }}",
            [
                "space.blocks: images of 32×32 are too small for blocks = 4 with filter_size = 10: take fewer blocks, "
                "smaller filters or larger images"
            ],
        ),
        (
            '[data]\nname = "mnist"\n[space]\nrandaugment = { low = 0.0, high = 0.5 }',
            ["space.randaugment: images of 1 channel cannot have randaugment, which takes 3: leave it at 0"],
        ),
    ],
)
def test_what_cannot_be_trained_is_refused(text: str, faults: list[str]) -> None:
    """Each combination that a trial can have is named when the study file is read."""
    assert list_faults(text) == faults


@pytest.mark.parametrize(
    "text",
    [
        '[fixed]\nschedule = "exponential"',
        "[fixed]\nfinal_rate = 0.0",
        '[space]\nschedule = ["cosine", "exponential"]\n'
        'final_rate = { low = 0.0, high = 0.1, when = { schedule = ["cosine"] } }',
        '[data]\npath = "flowers"\n[model]\nname = "application"\n[fixed]\napplication = "Xception"',
        f'{SMALL}[fixed]\napplication = "NASNetLarge"',
        f"{DIGITS}[space]\nblocks = [2, 4]\nfilter_size = {{ low = 3, high = 10, when = {{ blocks = [2] }} }}",
        '[data]\nname = "mnist"\n[fixed]\nrandaugment = 0.0',
    ],
)
def test_what_no_trial_has_is_no_fault(text: str) -> None:
    """A condition keeps values apart, and the size of images that nobody has loaded is not guessed."""
    assert read(text).study.name == "x"


def test_of_many_combinations_a_few_are_named() -> None:
    """Forty applications make no forty lines."""
    names = ", ".join(f'"{name}"' for name in ("MobileNet", "VGG16", "VGG19", "ResNet50", "Xception", "NASNetLarge"))
    faults = list_faults(f"{SMALL.replace('64', '24')}[space]\napplication = [{names}]")
    assert len(faults) == 5
    assert all(fault.endswith(" (and 1 more likewise)") for fault in faults)

"""The command line of a worker that an engine starts."""

from collections.abc import Sequence

UNFINISHED = 75
"""The exit code of a worker that was told to leave while there is work: EX_TEMPFAIL of sysexits.h, try again later."""


def make_arguments(*, gpus: int, slots: int, study_names: Sequence[str]) -> list[str]:
    """Return what comes after `hpsearch`: a worker that leaves when no study has work, or with `UNFINISHED`.

    Its one GPU is the first of those the engine lets it see. It does not stay while others train the last trials.
    """
    device = ["--gpu", "0"] if gpus else ["--cpu"]
    shared = ["--slots", str(slots)] if slots > 1 else []
    # one word each, because a name may begin with a dash
    studies = [f"--study={name}" for name in study_names]
    return ["worker", "--drain", "--no-wait", "--unfinished-code", str(UNFINISHED), *device, *shared, *studies]

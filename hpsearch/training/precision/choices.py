"""Which precision `auto` is on this host: measured once for a kind of model, and kept in the cache directory.

`precision/KEY.json` there has what was measured, on what. A cache directory may be shared by hosts, or be read-only.
"""

import hashlib
import json
import logging
import math
import os
import platform
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import keras

from hpsearch import settings
from hpsearch.errors import NotFoundError
from hpsearch.training import backends
from hpsearch.training.precision import samples
from hpsearch.training.precision.measurement import Launch, Rounds, find_fastest, time_steps
from hpsearch.training.precision.samples import Kind

log = logging.getLogger(__name__)

MAX_BYTES = 2**16
"""Of a file that is read: what is longer is not ours."""


@dataclass(frozen=True)
class PrecisionChoice:
    """The dtype policy that is taken, and the seconds of a step in each that were compared for it, if they were."""

    policy: str
    rounds: Rounds


@cache  # a process keeps to its choice, whatever the file says later
def choose(kind: Kind | None) -> PrecisionChoice:
    """Return the precision that is faster for a kind of model, from the cache directory where it is known.

    For a model of no kind it is what the backend names first.
    """
    policies = backends.current.list_precisions()
    if kind is None or len(policies) == 1:
        return PrecisionChoice(policies[0], {})
    facts = _describe_computation(kind)
    path = _find_file(facts)
    rounds = _read(path, facts, policies) if path else None
    if rounds is None:
        rounds = _measure(kind, policies)
        if path and rounds is not None:
            _write(path, facts, rounds)
    return PrecisionChoice(find_fastest(policies, rounds or {}), rounds or {})


def _measure(kind: Kind, policies: tuple[str, ...]) -> Rounds | None:
    """Return the rounds; empty where the device refuses a precision, None where another process may get further."""

    def compile_sample(policy: str) -> Launch:
        return samples.compile_sample(kind, policy)

    try:  # in seconds of the processor, as other programs' share of the time would count
        return time_steps(policies, compile_sample, time.process_time, time.monotonic) or None
    except Exception as error:  # noqa: BLE001 whatever it is, the trial itself shall go on
        log.debug("the precisions cannot be compared: %s", error)
        return {} if backends.is_unsupported(error) else None
    finally:
        backends.current.free_memory()


def _describe_computation(kind: Kind) -> dict[str, Any]:
    """Return all that the choice may depend on."""
    affinity = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else range(os.cpu_count() or 1)
    return {
        "kind": str(kind),
        "samples": samples.VERSION,
        "host": platform.node(),
        "device": _describe_processor(),
        "backend": f"{keras.backend.backend()} {backends.read_version()}",
        "keras": keras.version(),
        "cores": len(affinity),
        "environment": dict(settings.list_compute_variables()),
    }


def _describe_processor() -> str:
    """Return the processor's model and instructions, as Linux has them, else what Python knows."""
    wanted = ("model name", "flags", "Features", "CPU implementer", "CPU part")
    lines: dict[str, str] = {}
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(errors="replace").splitlines():
            name, _, value = line.partition(":")
            if name.strip() in wanted:
                lines.setdefault(name.strip(), value.strip())
    return "; ".join(lines.values()) or f"{platform.machine()} {platform.processor()}"


def _find_file(facts: Mapping[str, Any]) -> Path | None:
    key = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:32]
    try:
        return settings.find_cache_dir() / "precision" / f"{key}.json"
    except NotFoundError:
        return None


def _read(path: Path, facts: Mapping[str, Any], policies: tuple[str, ...]) -> Rounds | None:
    """Return the rounds in a file, as measured; None where there is none, or it is damaged or of something else."""
    try:
        with path.open("rb") as file:
            content = json.loads(file.read(MAX_BYTES))
        if {**content, "rounds": None} != {**facts, "rounds": None}:
            return None
        if content["rounds"] is None:  # refused
            return {}
        rounds = {policy: [float(seconds) for seconds in content["rounds"][policy]] for policy in policies}
    except (OSError, ValueError, TypeError, LookupError, ArithmeticError, RecursionError):
        return None
    lengths, numbers = {len(row) for row in rounds.values()}, [number for row in rounds.values() for number in row]
    whole = len(lengths) == 1 and numbers and all(math.isfinite(number) and number > 0 for number in numbers)
    return rounds if whole else None


def _write(path: Path, facts: Mapping[str, Any], rounds: Rounds) -> None:
    """Keep the rounds, whole or not at all; not where the cache cannot be written."""
    draft = path.with_name(f".{path.name}.{platform.node()}.{os.getpid()}")
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            draft.write_text(json.dumps({**facts, "rounds": {name: list(row) for name, row in rounds.items()} or None}))
            draft.replace(path)
        finally:
            draft.unlink(missing_ok=True)

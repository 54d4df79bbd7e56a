"""The NVIDIA GPUs of this machine, as NVML reports them: without loading a framework or taking memory."""

import importlib
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from hpsearch import settings
from hpsearch.errors import NotFoundError, UsageError


@dataclass(frozen=True)
class Gpu:
    """One GPU, or one MIG slice of one."""

    index: int
    """What `--gpu` takes; it counts within an inherited CUDA_VISIBLE_DEVICES."""
    uuid: str
    """What CUDA_VISIBLE_DEVICES takes, the same whatever order the devices are counted in."""
    name: str
    memory: int
    """In bytes; 0 where the driver does not say."""

    def __str__(self) -> str:
        return f"GPU {self.index} ({self.name})"


def parse_gpu_name(described: str) -> str | None:
    """Return the name of the GPU that `str(gpu)` described, as attempts store it; None for the CPU."""
    match = re.fullmatch(r"GPU \d+ \((.*)\)", described)
    return match[1] if match else None


def list_gpus(nvml: ModuleType | None = None) -> tuple[Gpu, ...]:
    """List the GPUs that a trainer could use, in the order of their indices; none where there is no driver.

    Args:
        nvml: stands in for pynvml.
    """
    return _query(nvml)[0]


def find_gpu(index: int, nvml: ModuleType | None = None) -> Gpu:
    """Return the GPU that `--gpu` means.

    Raises:
        NotFoundError: it is not there; the line says which are.
    """
    gpus, reason = _query(nvml)
    if 0 <= index < len(gpus):
        return gpus[index]
    if gpus:
        there = ", ".join(map(str, gpus))
        raise NotFoundError(f"GPU {index} is not there: this machine has {there}: choose one of them, or --cpu")
    raise NotFoundError(
        f"GPU {index} is not there: this machine has no NVIDIA GPU that NVML can see ({reason}): use --cpu"
    )


def choose_device(index: int | None, cpu: bool) -> Gpu | None:
    """Return what `--gpu` and `--cpu` choose: a GPU, or None for the CPU; with neither the first GPU there is.

    Raises:
        UsageError: both are given.
        NotFoundError: as for `find_gpu`.
    """
    if cpu and index is not None:
        raise UsageError("--cpu and --gpu exclude each other: keep one of them")
    if index is not None:
        return find_gpu(index)
    return None if cpu else next(iter(list_gpus()), None)


def _query(stand_in: ModuleType | None) -> tuple[tuple[Gpu, ...], str]:
    """Return the GPUs, and where there are none the reason."""
    # imported only when asked about GPUs, as training on the CPU never is
    nvml = stand_in or importlib.import_module("pynvml")
    visible = settings.read_visible_devices()
    try:
        with _session(nvml):
            handles = _select_visible(_list_handles(nvml), visible, nvml)
            gpus = tuple(_describe(index, handle, nvml) for index, handle in enumerate(handles))
    except nvml.NVMLError as error:
        return (), str(error)
    return gpus, "the driver knows of none" if visible is None else f"CUDA_VISIBLE_DEVICES is '{visible}'"


@contextmanager
def _session(nvml: ModuleType) -> Iterator[None]:
    nvml.nvmlInit()
    try:
        yield
    finally:
        nvml.nvmlShutdown()


def _list_handles(nvml: ModuleType) -> list[Any]:
    handles = []
    for position in range(nvml.nvmlDeviceGetCount()):
        try:
            handles.append(nvml.nvmlDeviceGetHandleByIndex(position))
        except nvml.NVMLError:
            # counted, but fallen off the bus or withheld from this job; CUDA does not count those either
            continue
    return handles


def _select_visible(handles: list[Any], visible: str | None, nvml: ModuleType) -> list[Any]:
    """Return what CUDA_VISIBLE_DEVICES leaves; as CUDA reads it, the first entry without a device ends the list."""
    if visible is None:
        return handles
    selected: list[Any] = []
    for entry in visible.split(","):
        handle = _find_handle(entry.strip(), handles, nvml)
        if handle is None:
            break
        selected.append(handle)
    return selected


def _find_handle(entry: str, handles: list[Any], nvml: ModuleType) -> Any | None:
    if entry.isdecimal():
        return handles[int(entry)] if int(entry) < len(handles) else None
    if entry.startswith("GPU-"):
        # CUDA takes the beginning of a UUID too, where only one device has it
        matches = [handle for handle in handles if nvml.nvmlDeviceGetUUID(handle).startswith(entry)]
        return matches[0] if len(matches) == 1 else None
    try:
        return nvml.nvmlDeviceGetHandleByUUID(entry) if entry.startswith("MIG-") else None
    except nvml.NVMLError:
        return None


def _describe(index: int, handle: Any, nvml: ModuleType) -> Gpu:
    try:
        memory = int(nvml.nvmlDeviceGetMemoryInfo(handle).total)
    except nvml.NVMLError:  # devices that share the host's memory do not say
        memory = 0
    return Gpu(index, nvml.nvmlDeviceGetUUID(handle), nvml.nvmlDeviceGetName(handle), memory)

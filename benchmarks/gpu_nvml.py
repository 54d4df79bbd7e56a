"""What NVML says of the GPU while `gpu.py` runs."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from statistics import mean
from typing import Any

import pynvml

from hpsearch.devices import Gpu

SAMPLE_SECONDS = 0.05


@contextmanager
def _open(gpu: Gpu) -> Iterator[Any]:
    pynvml.nvmlInit()
    try:
        yield pynvml.nvmlDeviceGetHandleByUUID(gpu.uuid)
    finally:
        pynvml.nvmlShutdown()


def list_processes(gpu: Gpu) -> set[int]:
    """Return the ids of the processes that compute on the GPU."""
    with _open(gpu) as handle:
        return {process.pid for process in pynvml.nvmlDeviceGetComputeRunningProcesses(handle)}


def read_driver_version(gpu: Gpu) -> str:
    """Return the version of NVIDIA's driver."""
    with _open(gpu):
        return str(pynvml.nvmlSystemGetDriverVersion())


class Utilization:
    """The share of the time in which a kernel ran, sampled by a thread; without a GPU there is none."""

    def __init__(self, gpu: Gpu | None) -> None:
        self._samples: list[tuple[float, int]] = []
        self._gpu, self._over = gpu, threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)

    def __enter__(self) -> "Utilization":
        if self._gpu is not None:
            self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        if self._gpu is not None:
            self._thread.join()

    def _sample(self) -> None:
        assert self._gpu is not None
        with _open(self._gpu) as handle:
            while not self._over.wait(SAMPLE_SECONDS):
                rate = pynvml.nvmlDeviceGetUtilizationRates(handle).gpu
                self._samples.append((time.monotonic(), int(rate)))

    def describe(self, began: float, ended: float) -> str:
        """Return the mean between two times of the monotonic clock, as text."""
        rates = [rate for moment, rate in self._samples if began <= moment <= ended]
        return f"GPU busy {mean(rates):.0f}%" if rates else "GPU busy ?"

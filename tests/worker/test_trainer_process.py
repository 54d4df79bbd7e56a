"""How trainer processes are started, and share a device."""

import os
import subprocess
import sys
from collections.abc import Callable

import pytest

from hpsearch import settings
from hpsearch.cli import quickstart
from hpsearch.devices import Gpu
from hpsearch.worker.trainer_process import GPU_SHARE, TrainerProcess, make_environment

GPU = Gpu(0, "GPU-a1", "NVIDIA H100", 80 * 2**30)


def test_slots_share_the_memory_of_a_gpu() -> None:
    """Two slots get half each of what CUDA's own contexts leave; one gets all of that, without a limit in bytes."""
    shared, alone = make_environment(GPU, 2), make_environment(GPU, 1)
    assert float(shared["XLA_CLIENT_MEM_FRACTION"]) == GPU_SHARE / 2
    assert int(shared[settings.TRAINER_MEMORY]) == int(GPU.memory * GPU_SHARE / 2)
    assert float(alone["XLA_CLIENT_MEM_FRACTION"]) == GPU_SHARE
    assert settings.TRAINER_MEMORY not in alone
    assert [int(slot[settings.DEVICE_MEMORY]) for slot in (shared, alone)] == [
        int(GPU.memory * GPU_SHARE / 2),
        int(GPU.memory * GPU_SHARE),
    ]


def test_a_gpu_that_does_not_say_its_memory_has_no_limit_in_bytes() -> None:
    """Where the driver names no size, no slot is limited to nothing."""
    environment = make_environment(Gpu(0, "GPU-a1", "NVIDIA GB10", 0), 2)
    assert settings.TRAINER_MEMORY not in environment
    assert settings.DEVICE_MEMORY not in environment
    assert float(environment["XLA_CLIENT_MEM_FRACTION"]) == GPU_SHARE / 2


def test_slots_share_the_cores_of_a_host() -> None:
    """Without a GPU the slots divide the host's cores, and no memory."""
    environment = make_environment(None, 2)
    assert environment["OMP_NUM_THREADS"] == str(max(1, (os.cpu_count() or 1) // 2))
    assert "XLA_CLIENT_MEM_FRACTION" not in environment


@pytest.mark.parametrize(
    ("start", "module"),
    [(lambda: TrainerProcess(None), "process"), (lambda: quickstart._have_cifar10(), "download")],
)
def test_no_process_of_ours_takes_modules_from_the_working_directory(
    monkeypatch: pytest.MonkeyPatch, start: Callable[[], object], module: str
) -> None:
    """Trainers and quickstart's download run with -P, so that no queue.py or hpsearch of it is run."""

    def refuse(command: list[str], **_: object) -> None:
        raise NotImplementedError(command)

    monkeypatch.setattr(subprocess, "Popen", refuse)
    monkeypatch.setattr(subprocess, "run", refuse)
    with pytest.raises(NotImplementedError) as refused:
        start()
    assert refused.value.args[0][:4] == [sys.executable, "-P", "-m", f"hpsearch.training.{module}"]

"""How the slots of a worker share a device."""

import os

from hpsearch import settings
from hpsearch.devices import Gpu
from hpsearch.worker.trainer_process import GPU_SHARE, make_environment

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

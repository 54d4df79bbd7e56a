"""devices.py against a stand-in for pynvml: this suite must run where there is no GPU."""

import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from hpsearch import devices
from hpsearch.errors import NotFoundError

GIB = 2**30


class Nvml(ModuleType):
    """The part of pynvml that devices.py uses, over devices given by the test."""

    class NVMLError(Exception):
        pass

    def __init__(self, *devices: Any, slices: tuple[Any, ...] = (), fault: str | None = None) -> None:
        super().__init__("nvml")
        self.devices, self.slices, self.fault, self.open = devices, slices, fault, 0

    def nvmlInit(self) -> None:
        if self.fault:
            raise self.NVMLError(self.fault)
        self.open += 1

    def nvmlShutdown(self) -> None:
        self.open -= 1

    def nvmlDeviceGetCount(self) -> int:
        return len(self.devices)

    def nvmlDeviceGetHandleByIndex(self, index: int) -> Any:
        if self.devices[index] is None:
            raise self.NVMLError("Insufficient Permissions")
        return self.devices[index]

    def nvmlDeviceGetHandleByUUID(self, uuid: str) -> Any:
        for device in self.slices:
            if device.uuid == uuid:
                return device
        raise self.NVMLError("Not Found")

    def nvmlDeviceGetUUID(self, handle: Any) -> str:
        return str(handle.uuid)

    def nvmlDeviceGetName(self, handle: Any) -> str:
        return str(handle.name)

    def nvmlDeviceGetMemoryInfo(self, handle: Any) -> Any:
        if handle.memory is None:
            raise self.NVMLError("Not Supported")
        return SimpleNamespace(total=handle.memory)


def device(uuid: str, name: str = "NVIDIA H200", memory: int | None = 139 * GIB) -> Any:
    return SimpleNamespace(uuid=uuid, name=name, memory=memory)


A, B, C = device("GPU-a1"), device("GPU-a2"), device("GPU-c3", "NVIDIA L4", 22 * GIB)
SLICE = device("MIG-77", "NVIDIA H200 MIG 1g.18gb", 16 * GIB)


@pytest.fixture(autouse=True)
def _nothing_inherited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


def test_every_gpu_is_described_and_nvml_closed() -> None:
    """Without CUDA_VISIBLE_DEVICES all GPUs count, in NVML's order, and NVML is not left open."""
    nvml = Nvml(A, C)
    assert devices.list_gpus(nvml) == (
        devices.Gpu(0, "GPU-a1", "NVIDIA H200", 139 * GIB),
        devices.Gpu(1, "GPU-c3", "NVIDIA L4", 22 * GIB),
    )
    assert nvml.open == 0


@pytest.mark.parametrize(
    ("visible", "uuids"),
    [
        ("0,1,2", ["GPU-a1", "GPU-a2", "GPU-c3"]),
        ("2,0", ["GPU-c3", "GPU-a1"]),
        ("1", ["GPU-a2"]),
        (" 1 , 2 ", ["GPU-a2", "GPU-c3"]),
        ("GPU-c3", ["GPU-c3"]),
        ("GPU-c", ["GPU-c3"]),
        ("GPU-a", []),
        ("GPU-c3,0", ["GPU-c3", "GPU-a1"]),
        ("MIG-77", ["MIG-77"]),
        ("MIG-78", []),
        ("", []),
        ("-1", []),
        ("0,-1,1", ["GPU-a1"]),
        ("0,7,1", ["GPU-a1"]),
        ("NoDevFiles", []),
    ],
)
def test_indices_count_within_inherited_devices(
    monkeypatch: pytest.MonkeyPatch, visible: str, uuids: list[str]
) -> None:
    """CUDA_VISIBLE_DEVICES is read as CUDA reads it: indices, UUIDs, MIG slices, up to the first fault."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    gpus = devices.list_gpus(Nvml(A, B, C, slices=(SLICE,)))
    assert [gpu.uuid for gpu in gpus] == uuids
    assert [gpu.index for gpu in gpus] == list(range(len(uuids)))


def test_a_device_withheld_from_the_job_does_not_count() -> None:
    """A GPU that NVML counts but does not open (another Slurm job's) leaves no gap in the indices."""
    assert [gpu.uuid for gpu in devices.list_gpus(Nvml(None, B))] == ["GPU-a2"]


def test_memory_that_the_driver_does_not_tell_is_zero() -> None:
    """A GPU that shares the host's memory is a GPU all the same."""
    assert devices.list_gpus(Nvml(device("GPU-u", "NVIDIA GB10", None)))[0].memory == 0


def test_no_driver_means_no_gpus() -> None:
    """A machine without NVIDIA's driver has no GPUs, and that is no error."""
    assert devices.list_gpus(Nvml(fault="NVML Shared Library Not Found")) == ()


def test_choose_returns_the_gpu_of_that_index(monkeypatch: pytest.MonkeyPatch) -> None:
    """`--gpu 0` is the first of the inherited devices."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,1")
    assert devices.find_gpu(0, Nvml(A, B, C)).uuid == "GPU-c3"


@pytest.mark.parametrize("name", ["NVIDIA H200", "NVIDIA H200 MIG 1g.18gb", "NVIDIA GeForce (R) x", ""])
def test_a_gpus_name_is_read_back_from_its_text(name: str) -> None:
    """What attempts store of a GPU names its model, whichever of the host's GPUs it is; the CPU has none."""
    assert [devices.parse_gpu_name(str(devices.Gpu(index, "GPU-a1", name, GIB))) for index in (0, 12)] == [name, name]
    assert devices.parse_gpu_name("CPU") is None


@pytest.mark.parametrize("index", [3, -1])
def test_choose_says_which_gpus_are_there(index: int) -> None:
    """An index without a GPU is refused in one line that names those there are."""
    with pytest.raises(NotFoundError) as refused:
        devices.find_gpu(index, Nvml(A, C))
    assert str(refused.value) == (
        f"GPU {index} is not there: this machine has GPU 0 (NVIDIA H200), GPU 1 (NVIDIA L4): "
        "choose one of them, or --cpu"
    )
    assert refused.value.exit_code == 3


@pytest.mark.parametrize(
    ("visible", "nvml", "reason"),
    [
        (None, Nvml(fault="Driver Not Loaded"), "Driver Not Loaded"),
        (None, Nvml(), "the driver knows of none"),
        ("", Nvml(A), "CUDA_VISIBLE_DEVICES is ''"),
        ("-1", Nvml(A), "CUDA_VISIBLE_DEVICES is '-1'"),
    ],
)
def test_choose_says_why_there_is_none(
    monkeypatch: pytest.MonkeyPatch, visible: str | None, nvml: Nvml, reason: str
) -> None:
    """Without any GPU the line gives the reason, and the way out."""
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    with pytest.raises(NotFoundError) as refused:
        devices.find_gpu(0, nvml)
    assert str(refused.value) == (
        f"GPU 0 is not there: this machine has no NVIDIA GPU that NVML can see ({reason}): use --cpu"
    )


def test_pynvml_is_imported_only_when_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Importing devices costs no pynvml; the real one answers, whatever the machine, without an exception."""
    monkeypatch.delitem(sys.modules, "pynvml", raising=False)
    assert isinstance(devices.list_gpus(), tuple)
    assert "pynvml" in sys.modules

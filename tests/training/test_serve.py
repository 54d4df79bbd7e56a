"""What a trainer does before it says Ready."""

import pytest

from hpsearch import settings
from hpsearch.training import backends, serve

pytestmark = pytest.mark.tensorflow


def test_memory_is_limited_before_the_device_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """A trainer limits itself to its share of the GPU before the framework takes hold of it."""
    # No GPU runs the suite, so the order of the two calls stands for what they would do there.
    calls: list[str] = []

    def name_device() -> str:
        calls.append("device")
        return "CPU"

    monkeypatch.setenv(settings.TRAINER_MEMORY, str(2**30))
    monkeypatch.setattr(backends.current, "limit_memory", lambda limit: calls.append(f"limit of {limit >> 20} MiB"))
    monkeypatch.setattr(backends, "name_device", name_device)
    serve.describe_process()
    assert calls == ["limit of 1024 MiB", "device"]

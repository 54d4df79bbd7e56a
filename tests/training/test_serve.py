"""What a trainer does before it says Ready."""

import pytest

from hpsearch import settings
from hpsearch.training import backends, serve

pytestmark = pytest.mark.tensorflow


def test_share_is_taken_before_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    """A trainer limits itself to its share of the GPU before the framework takes hold of it."""
    # No GPU runs the suite, so the order of the two calls stands for what they would do there.
    calls: list[str] = []
    monkeypatch.setenv(settings.TRAINER_MEMORY, str(2**30))
    monkeypatch.setattr(backends.current, "limit_memory", lambda share: calls.append(f"share of {share >> 20} MiB"))

    def name_device() -> str:
        calls.append("device")
        return "CPU"

    monkeypatch.setattr(backends, "name_device", name_device)
    serve.describe_process()
    assert calls == ["share of 1024 MiB", "device"]

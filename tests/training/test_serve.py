"""What a trainer does before it says Ready."""

import pytest

from hpsearch.training import backend, serve


def test_share_is_taken_before_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    """A trainer limits itself to its share of the GPU before the framework takes hold of it."""
    # No GPU runs the suite, so the order of the two calls stands for what they would do there.
    calls: list[str] = []
    monkeypatch.setattr(backend, "take_share", lambda: calls.append("share"))
    monkeypatch.setattr(backend, "device", lambda: calls.append("device") or "CPU")
    serve.ready()
    assert calls == ["share", "device"]

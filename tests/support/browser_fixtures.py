"""One Chromium for all pages: a process can hold only one."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, sync_playwright

# What a container without a desktop, a GPU and a network needs; none of it changes what a page shows.
QUIET = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@pytest.fixture(scope="session")
def browser(chromium: str) -> Iterator[Browser]:
    """A headless Chromium."""
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=chromium, args=QUIET)
        yield launched
        launched.close()

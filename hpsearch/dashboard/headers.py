"""The headers of every answer: what keeps stored content from acting in a browser as the dashboard's own pages do."""

from collections.abc import Iterable

Headers = list[tuple[str, str]]

SAFE = {
    # No other site may show the dashboard in a frame, where a visitor's clicks would reach it (clickjacking).
    "X-Frame-Options": "SAMEORIGIN",
    # A browser takes content for what its type says, whatever it looks like.
    "X-Content-Type-Options": "nosniff",
    # A document runs no script, and is of no origin. The dashboard's page brings a policy of its own.
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; sandbox",
}

CROSS_ORIGIN = "access-control-"
"""How the headers begin by which an answer lets other sites' pages read it; optuna-dashboard sends them with files."""


def secure_headers(headers: Iterable[tuple[str, str]]) -> Headers:
    """Return the headers of an answer with those of `SAFE` that it lacks, and without leave for other sites' pages."""
    kept = [(name, value) for name, value in headers if not name.lower().startswith(CROSS_ORIGIN)]
    present = {name.lower() for name, _ in kept}
    return [*kept, *((name, value) for name, value in SAFE.items() if name.lower() not in present)]

"""Published data sets: files that are where the user keeps data, or are downloaded into the cache once."""

import logging
import socket
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from hpsearch import settings
from hpsearch.errors import NotFoundError, shorten

log = logging.getLogger(__name__)

PLACES_LENGTH, REASON_LENGTH = 96, 60
"""Characters of a message for each, so that neither takes the room of the other or of the remedy."""

TIMEOUT = 60.0
"""Seconds without a byte, after which a download is given up."""


Listener = Callable[[int, int], None]
"""Called with how many bytes are there, and of how many, 0 where that is unknown; may raise a `StoppedError`."""


class StoppedError(Exception):
    """The images or weights are not wanted any more."""


_listener: ContextVar[Listener | None] = ContextVar("listener", default=None)


@contextmanager
def report_to(listener: Listener) -> Iterator[None]:
    """Have `listener` hear of each download inside the context, block by block.

    A supervisor takes a trainer that is silent for a trainer that hangs, and a large file may take longer than that.
    """
    token = _listener.set(listener)
    try:
        yield
    finally:
        _listener.reset(token)


def report_waiting() -> None:
    """Tell the listener that another process of this host downloads."""
    listener = _listener.get()
    if listener:
        listener(0, 0)


@contextmanager
def watch_downloads() -> Iterator[None]:
    """Report what Keras downloads inside the context to the listener, and give it up where no byte comes for long.

    Without a listener, Keras shows its own bar.

    Raises:
        StoppedError: the listener raised it.
    """
    # Imported here, because nothing public tells how far a download is.
    from keras.src.utils import file_utils

    listener, bar, timeout = _listener.get(), file_utils.Progbar, socket.getdefaulttimeout()

    class Reporter:
        def __init__(self, target: int | None, *_: Any, **__: Any) -> None:
            self.target = target

        def update(self, current: int, *_: Any, **__: Any) -> None:
            assert listener
            listener(current, self.target or 0)

    socket.setdefaulttimeout(TIMEOUT)
    if listener:
        file_utils.Progbar = Reporter
    try:
        yield
    finally:
        file_utils.Progbar = bar
        socket.setdefaulttimeout(timeout)


@dataclass(frozen=True)
class PublishedFile:
    """A file of a data set, as Keras's loaders know it."""

    title: str
    """What to call the data set."""
    name: str
    """Its path below a directory that is searched."""
    origin: str
    sha256: str | None
    """None where Keras has none; such a file has a checksum of its own inside."""
    mebibytes: float
    advice: str
    """What to put into a directory where it cannot be downloaded."""


def list_places() -> tuple[Path, ...]:
    """Return what is searched, in this order: the user's data directory, which may be a file, our cache, Keras's."""
    places = [settings.find_data_dir()]
    with suppress(NotFoundError):  # no home, and so no cache, which is not needed by who has the data elsewhere
        places.append(settings.find_cache_dir())
    return tuple(place for place in (*places, settings.find_keras_datasets()) if place)


def fetch(file: PublishedFile) -> Path:
    """Return where a file is on this host; it is downloaded where it is not there.

    Raises:
        NotFoundError: it is not there and cannot be downloaded.
    """
    first = PurePosixPath(file.name).parts[0]
    # A place may be the file itself, or the folder of that name.
    paths = ((place.parent if place.name == first else place) / file.name for place in list_places())
    return next((path for path in paths if path.is_file()), None) or download(file)


def download(file: PublishedFile) -> Path:
    """Download a file into the cache; it appears there whole, with the right checksum, or not at all.

    Raises:
        NotFoundError: it cannot be downloaded; the line says where it was looked for.
        StoppedError: the listener raised it.
    """
    name = PurePosixPath(file.name).name
    try:
        cache = settings.find_cache_dir()
        import keras

        target = cache / file.name
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".download-", dir=cache) as directory, watch_downloads():
            log.info("downloading %s (%g MiB) from %s", file.title, file.mebibytes, file.origin)
            downloaded = keras.utils.get_file(
                name,
                file.origin,
                file_hash=file.sha256,
                hash_algorithm="sha256",
                cache_dir=directory,
                cache_subdir="",
            )
            return Path(downloaded).replace(target)
    except StoppedError:
        raise
    except Exception as error:  # noqa: BLE001 get_file raises bare Exception for what goes wrong on the way
        looked = " nor in ".join(str(place) for place in list_places()) or "HPSEARCH_DATA_DIR, which is not set"
        reason = " ".join(str(error).removeprefix(f"URL fetch failure on {file.origin}: ").split())
        raise NotFoundError(
            f"{file.title} is not in {shorten(looked, PLACES_LENGTH)}, and cannot be downloaded "
            f"({shorten(reason or type(error).__name__, REASON_LENGTH)}): put {file.advice} into the "
            "directory HPSEARCH_DATA_DIR"
        ) from None

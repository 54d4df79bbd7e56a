"""Stores of a study's files outside Postgres: a directory that all hosts see, or an S3 bucket.

They are built on Optuna's own artifact stores. Each study has a home of its own there, a directory or a prefix with a
random name and a marker in it: two databases may share the place, and a host that sees another directory in its stead,
such as an empty mount point, finds that out.
"""

import io
import os
import re
import shutil
import uuid
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from optuna.artifacts import Boto3ArtifactStore, FileSystemArtifactStore
from optuna.artifacts._protocol import ArtifactStore
from optuna.artifacts.exceptions import ArtifactNotFound

from hpsearch.errors import StoreError
from hpsearch.settings import Setting

MARKER = "study"

BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")

PLACES = "write a directory (/path or file:///path), or s3://bucket/prefix"


class StudyStore(ABC):
    """The home of one study's files, by URL. Keys hold no characters but letters, digits, `-`, `_`, `.` and `/`."""

    inner: ArtifactStore
    remedy: str

    def __init__(self, url: str) -> None:
        self.url = url

    @property
    def name(self) -> str:
        """Return the home's own name, which no other has."""
        return self.url.rpartition("/")[2]

    @abstractmethod
    def create(self) -> None:
        """Create the home, with the marker in it.

        Raises:
            StoreError: the place is not there, or cannot be written to.
        """

    @abstractmethod
    def clear(self) -> None:
        """Remove the home and all that is in it; one that is gone already is fine.

        Raises:
            StoreError: it cannot be reached.
        """

    @abstractmethod
    def _errors(self) -> tuple[type[Exception], ...]:
        """Return the exceptions that a store of this kind raises."""

    def put(self, key: str, path: Path) -> None:
        """Store a local file under `key`, whole or not at all.

        Raises:
            StoreError: it could not be written.
        """
        with self._translate_errors(), path.open("rb") as file:
            self.inner.write(key, file)

    def get(self, key: str, path: Path) -> bool:
        """Write what is stored under `key` to a local file; return False where there is nothing.

        Raises:
            StoreError: it could not be read.
        """
        with self._translate_errors():
            try:
                with self.inner.open_reader(key) as content, path.open("wb") as file:
                    shutil.copyfileobj(content, file)
            except ArtifactNotFound:
                return False
        return True

    def remove(self, key: str) -> None:
        """Remove what is stored under `key`; nothing there is fine.

        Raises:
            StoreError: it could not be removed.
        """
        with self._translate_errors():
            try:
                self.inner.remove(key)
            except ArtifactNotFound:
                return

    def verify(self) -> None:
        """Check that the home is there.

        Raises:
            StoreError: it is not, or what is there is another's.
        """
        with self._translate_errors():
            try:
                with self.inner.open_reader(MARKER) as marker:
                    owner = marker.read().decode(errors="replace").strip()
            except ArtifactNotFound:
                raise StoreError(f"{self.url} is not there: {self.remedy}") from None
        if owner != self.name:
            raise StoreError(f"{self.url} is the home of {owner[:80]!r}: {self.remedy}")

    def check(self) -> None:
        """Check that the home is there and can be written to.

        Raises:
            StoreError: it is not, or cannot.
        """
        self.verify()
        probe = f"probe-{uuid.uuid4().hex}"
        with self._translate_errors():
            self.inner.write(probe, io.BytesIO(b"probe"))
        self.remove(probe)

    def _mark(self) -> None:
        """Put the marker into the home."""
        self.inner.write(MARKER, io.BytesIO(f"{self.name}\n".encode()))

    @contextmanager
    def _translate_errors(self) -> Iterator[None]:
        """Raise what the store raises in the block as a StoreError of one line.

        Raises:
            StoreError: the store raised an error.
        """
        try:
            yield
        except self._errors() as error:
            reason = " ".join(str(getattr(error, "strerror", None) or error).split())
            raise StoreError(f"{self.url} cannot be used ({reason}): {self.remedy}") from None


class DirectoryStore(StudyStore):
    """A home in a directory; its files lie side by side."""

    remedy = "see that this directory is mounted here as on the host that started the study, and may be written to"

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.home = Path(unquote(url.removeprefix("file://")))
        self.inner = _WholeFiles(self.home)

    def _errors(self) -> tuple[type[Exception], ...]:
        """Return the exception of the file system."""
        return (OSError,)

    def create(self) -> None:
        """Create the home; the directory that the home is made in must be there."""
        with self._translate_errors():
            self.home.mkdir()
            self._mark()

    def clear(self) -> None:
        """Remove the home; the marker goes last, so that what is begun can be ended later."""
        with self._translate_errors():
            if not self.home.exists():
                return
            for path in self.home.iterdir():
                if path.name != MARKER:
                    path.unlink(missing_ok=True)
            (self.home / MARKER).unlink(missing_ok=True)
            self.home.rmdir()


class _WholeFiles(FileSystemArtifactStore):
    """Optuna's store, whose files appear whole or not at all: it writes beside them, and renames."""

    def __init__(self, home: Path) -> None:
        super().__init__(home)
        self._home = home

    def _get_filepath(self, artifact_id: str) -> Path:
        return super()._get_filepath(artifact_id.replace("/", "-"))

    def write(self, artifact_id: str, content_body: Any) -> None:
        # The name of the draft follows from the key, so that a draft whose writer was killed goes with the key.
        draft = f"{artifact_id}.part"
        try:
            super().write(draft, content_body)
            with self._get_filepath(draft).open("rb") as written:
                os.fsync(written.fileno())
            self._get_filepath(draft).replace(self._get_filepath(artifact_id))
        finally:
            self._get_filepath(draft).unlink(missing_ok=True)

    def remove(self, artifact_id: str) -> None:
        self._get_filepath(f"{artifact_id}.part").unlink(missing_ok=True)
        super().remove(artifact_id)


class S3Store(StudyStore):
    """A home under a prefix of a bucket, on whatever server and with whatever credentials boto3's environment names."""

    remedy = "see that this bucket may be read and written with the credentials that boto3 finds here"

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.bucket, _, self.prefix = url.removeprefix("s3://").partition("/")
        self.client = _s3_client(url)
        self.inner = _Prefixed(self.bucket, self.prefix, self.client)

    def _errors(self) -> tuple[type[Exception], ...]:
        """Return the exceptions of boto3, and of the file system for the local file."""
        from botocore.exceptions import BotoCoreError, ClientError

        return (BotoCoreError, ClientError, OSError)

    def create(self) -> None:
        """Create the home; the bucket must be there."""
        with self._translate_errors():
            self._mark()

    def clear(self) -> None:
        """Remove the home; the marker goes last, so that what is begun can be ended later."""
        with self._translate_errors():
            pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=f"{self.prefix}/")
            for key in [item["Key"] for page in pages for item in page.get("Contents", ())]:
                if key != f"{self.prefix}/{MARKER}":
                    self.client.delete_object(Bucket=self.bucket, Key=key)
            self.inner.remove(MARKER)


class _Prefixed(Boto3ArtifactStore):
    """Optuna's store, under a prefix."""

    def __init__(self, bucket: str, prefix: str, client: Any) -> None:
        super().__init__(bucket, client)
        self._prefix = prefix

    def open_reader(self, artifact_id: str) -> Any:
        return super().open_reader(f"{self._prefix}/{artifact_id}")

    def write(self, artifact_id: str, content_body: Any) -> None:
        # One request, not an upload in parts as Optuna does: the parts of a writer that was killed stay, unseen and
        # paid for, until somebody ends that upload.
        self.client.put_object(Bucket=self.bucket, Key=f"{self._prefix}/{artifact_id}", Body=content_body)

    def remove(self, artifact_id: str) -> None:
        super().remove(f"{self._prefix}/{artifact_id}")


def _s3_client(url: str) -> Any:
    try:
        import boto3
        from botocore.config import Config
        from botocore.exceptions import BotoCoreError
    except ImportError:
        raise StoreError(f"{url} needs boto3: pip install boto3") from None
    patience = Config(connect_timeout=10, read_timeout=60, retries={"mode": "standard", "total_max_attempts": 3})
    try:
        return boto3.session.Session().client("s3", config=patience)
    except (BotoCoreError, ValueError) as error:
        raise StoreError(f"{url} cannot be used ({error}): {S3Store.remedy}") from None


def open_store(url: str) -> StudyStore:
    """Return the store of a home's URL, which `verify` checks.

    Raises:
        StoreError: boto3 is needed and not installed, or its environment is faulty.
    """
    return S3Store(url) if url.startswith("s3://") else DirectoryStore(url)


def create_store(place: Setting, study: str) -> StudyStore:
    """Create a home for a study of that name at a place that the user named.

    Raises:
        StoreError: the place is no directory and no bucket, is not there, or cannot be written to.
    """
    slug = re.sub(r"[^A-Za-z0-9_]+", "-", study).strip("-")[:40]
    home = "-".join(part for part in (slug, uuid.uuid4().hex[:12]) if part)
    try:
        store = open_store(_home(place, home))
        store.create()
    except StoreError as error:
        raise StoreError(f"{place.source}: {error}") from None
    return store


def _home(place: Setting, name: str) -> str:
    scheme, separator, rest = place.value.partition("://")
    bucket, _, prefix = rest.partition("/")
    if scheme == "s3" and BUCKET.fullmatch(bucket):
        return "/".join(["s3:/", bucket, *(part for part in prefix.split("/") if part), name])
    path = Path(unquote(rest) if separator else place.value)
    if (scheme != "file" and separator) or not path.is_absolute():
        raise StoreError(f"this names no place for files: {PLACES}")
    if not path.is_dir():
        raise StoreError(f"{path} is not a directory here: make it, or mount it, on every host")
    return (path / name).as_uri()

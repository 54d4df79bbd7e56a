"""Named arrays in a file whose damage is noticed before anything of it is interpreted.

The file is `MAGIC`, the length of the rest (8 bytes, little-endian), its SHA-256, and the rest: an `.npz` without
pickles, so that reading one runs nothing. Earlier versions wrote the rest alone.
"""

import hashlib
import io
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

MAGIC = b"hpsearch arrays 1\n"
HEAD_BYTES = len(MAGIC) + 8 + hashlib.sha256().digest_size
BLOCK_BYTES = 1 << 20
ZIP_MAGIC = b"PK\3\4"


def save(arrays: Mapping[str, npt.NDArray[Any]], path: Path) -> None:
    """Write the file whole or not at all.

    Raises:
        OSError: it cannot be written.
    """
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with draft.open("wb") as file:
            file.write(bytes(HEAD_BYTES))
            sealing = _SealingWriter(file)
            np.savez(sealing, **arrays)  # type: ignore[arg-type]  # its stub has no name for arrays by name
            file.seek(0)
            file.write(sealing.make_head())
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


def load(path: Path) -> dict[str, npt.NDArray[Any]] | None:
    """Return the arrays of a file that `save` or an earlier version wrote; None of any other, whatever is in it.

    Raises:
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        start = 0 if file.read(len(ZIP_MAGIC)) == ZIP_MAGIC else HEAD_BYTES
        file.seek(0)
        if start and not _is_whole(file):
            return None
        file.seek(start)
        try:
            with np.load(file, allow_pickle=False) as archive:
                return dict(archive)
        except Exception:  # noqa: BLE001 - of what somebody has sealed, zipfile and numpy raise almost anything
            return None


class _SealingWriter(io.RawIOBase):
    """Passes on what is written, which cannot be written over, and takes its length and digest."""

    def __init__(self, file: BinaryIO) -> None:
        self._file, self._length, self._digest = file, 0, hashlib.sha256()

    def writable(self) -> bool:
        return True

    def write(self, content: Any) -> int:
        view = memoryview(content)
        self._digest.update(view)
        self._length += view.nbytes
        return self._file.write(view)

    def make_head(self) -> bytes:
        return MAGIC + self._length.to_bytes(8, "little") + self._digest.digest()


def _is_whole(file: BinaryIO) -> bool:
    head, digest, length = file.read(HEAD_BYTES), hashlib.sha256(), 0
    if not head.startswith(MAGIC):
        return False
    while block := file.read(BLOCK_BYTES):
        digest.update(block)
        length += len(block)
    return head == MAGIC + length.to_bytes(8, "little") + digest.digest()

"""Where `hpsearch init` writes a study file, and what it writes of paths."""

import os
from pathlib import Path
from typing import Any

from hpsearch.errors import UsageError
from hpsearch.spec.datasets import list_datasets
from hpsearch.worker.local import study_drafts


def write(build: str, data: Path | None, image_size: int | None, output: Path | None) -> Path:
    """Write a study file for a builder, beside it by default; return its path.

    Args:
        build: `file.py:function`, the path from the current directory.
        data: images, from the current directory or below HPSEARCH_DATA_DIR; or the name of a built-in data set.
        image_size: height and width they are brought to.
        output: the file.

    Raises:
        UsageError: `build` names no function, or the file is there already or cannot be written.
        HpsearchError: see `study_drafts.draft`.
    """
    source, colon, function = build.rpartition(":")
    if not colon or not source or not function:
        raise UsageError(f"{build} is no function in a file: write my_model.py:build")
    file = output or Path(source).with_suffix(".toml")
    if file.exists():
        raise UsageError(f"{file} is there already: name another with -o")
    section: dict[str, Any] = {}
    if data is not None and not data.exists() and str(data) in list_datasets():
        section["name"] = str(data)
    elif data is not None:
        section["path"] = str(data.absolute() if data.exists() else data)
    if image_size is not None:
        section["image_size"] = image_size
    directory = file.absolute().parent
    reference = f"{os.path.relpath(source, directory)}:{function}"
    text = study_drafts.draft(reference, section, directory)
    try:
        with file.open("x", encoding="utf-8") as stream:
            stream.write(text)
    except OSError as error:
        raise UsageError(f"{file} cannot be written ({error.strerror or error}): name another with -o") from None
    return file

"""The archive in which a study's own code travels: a zip file of its Python files, identified by their contents."""

import hashlib
import io
import os
import re
import stat
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from hpsearch.spec.code.imports import CodeError, CodeFiles, find_import_root
from hpsearch.spec.code.packages import Packages, is_installed, read_versions

LARGEST_ARCHIVE = 10_000_000
"""Bytes of all files of an archive, before compression."""

IGNORED_NAMES = re.compile(
    r".*\.(pyc|pyo|ipynb|keras|h5|hdf5|npz|npy|ckpt|pt|pth|safetensors|onnx|pb|tflite|pkl|pickle|joblib|parquet|"
    r"tfrecord|zip|tar|gz|tgz|bz2|xz|7z|png|jpe?g|gif|bmp|webp|tiff?|mp4|avi|wav)",
    re.IGNORECASE,
)
"""Compiled files, notebooks, models, data and images, which are no code."""

IGNORED_DIRECTORIES = {"__pycache__", "node_modules"}
"""Besides hidden ones and virtual environments."""

SECRET_NAMES = re.compile(
    r"(\.env(\..*)?|\.netrc|\.npmrc|\.pypirc|credentials|id_(rsa|dsa|ecdsa|ed25519)|.*\.(pem|key|p12|pfx))"
)
SECRETS = {
    "a private key": rb"-----BEGIN [A-Z ]*PRIVATE KEY-----",
    "an AWS key": rb"\b(AKIA|ASIA)[0-9A-Z]{16}\b|aws_secret_access_key\s*[=:]",
    "a GitHub token": rb"\bgh[pousr]_[A-Za-z0-9]{36}|\bgithub_pat_\w{50}",
    "a Hugging Face token": rb"\bhf_[A-Za-z0-9]{30}",
    "a Google key": rb"\bAIza[\w-]{35}",
    "a Slack token": rb"\bxox[abprs]-[\w-]{10}",
    "an API key": rb"\bsk-[\w-]{32}",
}
"""What is warned of, and the pattern of it."""


@dataclass(frozen=True)
class CodeReference:
    """The code of a study.

    `sha256` identifies it, `directory` is the study file's in the archive, from which the paths of `[model]` and
    `[data]` count. `archive` is its content where it was just packed, None where the database has it; `packages` what
    it needs of what is installed where the study was started.
    """

    sha256: str
    directory: str = "."
    archive: bytes | None = field(default=None, compare=False, repr=False)
    packages: Packages = field(default_factory=dict, compare=False)
    warnings: tuple[str, ...] = field(default=(), compare=False)

    @classmethod
    def from_json(cls, stored: Mapping[str, str]) -> "CodeReference":
        """Return what `to_json` wrote, without the archive.

        Raises:
            ValueError: a newer version wrote it.
        """
        if stored.keys() != {"sha256", "directory"} or not all(isinstance(value, str) for value in stored.values()):
            raise ValueError("no reference to code")
        return cls(stored["sha256"], stored["directory"])

    def to_json(self) -> dict[str, str]:
        """Return what a study's spec keeps of it."""
        return {"sha256": self.sha256, "directory": self.directory}


class DamagedCodeError(Exception):
    """An archive that is not what its SHA-256 says, or no archive; one line."""


def pack(references: Mapping[str, str], directory: Path) -> CodeReference:
    """Return the code that `references` need.

    Args:
        references: `file.py:function` by the key of the study file that has it, such as `model.build`.
        directory: the study file's.

    Raises:
        CodeError: a file is missing, broken or without that function; or it is all too much. One line, which begins
            with the key.
    """
    directory = directory.resolve()
    files = CodeFiles(directory)
    for key, reference in references.items():
        path, _, function = reference.rpartition(":")
        try:
            files.add(path, function)
        except CodeError as fault:
            raise CodeError(f"{key}: {fault}") from None
    try:
        paths = sorted(set(_list_packed(files)))
        _refuse_too_large(files, paths)
        top = Path(os.path.commonpath([directory, *map(find_import_root, files.modules.values())]))
        contents = {_name(path, top): path.read_bytes() for path in paths}
    except CodeError as fault:
        raise CodeError(f"{next(iter(references))}: {fault}") from None
    except OSError as error:
        raise CodeError(f"{next(iter(references))}: {error.filename} cannot be read: {error.strerror}") from None
    packages = read_versions(files.imports)
    return CodeReference(
        _digest(contents),
        directory.relative_to(top).as_posix(),
        _zip(contents),
        packages,
        (*_list_warnings(contents), *_list_absent(packages)),
    )


def read(archive: bytes, sha256: str) -> dict[str, bytes]:
    """Return the files of an archive by name.

    Raises:
        DamagedCodeError: it is none that `pack` made, or another one than `sha256` says.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(archive)) as packed:
            members = packed.infolist()
            if sum(member.file_size for member in members) > LARGEST_ARCHIVE:
                raise DamagedCodeError(f"its archive holds more than {LARGEST_ARCHIVE / 1e6:g} MB")
            contents = {member.filename: packed.read(member) for member in members}
    except DamagedCodeError:
        raise
    except Exception as error:  # noqa: BLE001 - of damaged bytes zipfile raises almost anything
        raise DamagedCodeError(f"its archive cannot be read ({error})") from None
    if escaping := [name for name in contents if not _is_inside(name)]:
        raise DamagedCodeError(f"its archive has a file outside of it, {escaping[0]!r}")
    if (actual := _digest(contents)) != sha256:
        raise DamagedCodeError(f"its archive has the SHA-256 {actual[:12]}, and was stored as {sha256[:12]}")
    return contents


def unpack(archive: bytes, code: CodeReference, directory: Path) -> Path:
    """Write the files of an archive to `directory`, which is empty, and return the study file's directory in it.

    Raises:
        DamagedCodeError: it is not the archive of `code`.
    """
    contents = read(archive, code.sha256)
    if not _is_inside(f"{code.directory}/x"):
        raise DamagedCodeError(f"its directory {code.directory!r} is outside of its archive")
    for name, content in contents.items():
        path = directory / name
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.write_bytes(content)
    place = directory / code.directory
    place.mkdir(mode=0o700, parents=True, exist_ok=True)
    return place


def _list_packed(files: CodeFiles) -> Iterator[Path]:
    """Yield the files that are packed: of a package all, else those that are imported."""
    yield from files.modules.values()
    roots = {file: find_import_root(file) for file in files.modules.values()}
    for package in {root / file.relative_to(root).parts[0] for file, root in roots.items() if file.parent != root}:
        yield from _walk(package, files)


def _walk(package: Path, files: CodeFiles) -> Iterator[Path]:
    for place, directories, names in os.walk(package):
        directories[:] = [name for name in directories if _is_packed(Path(place, name))]
        for path in (Path(place, name) for name in names):
            if IGNORED_NAMES.fullmatch(path.name) or not path.is_file():
                continue
            if not path.resolve().is_relative_to(package.resolve()):
                raise CodeError(f"{files.show(path)} is a link to a file elsewhere: copy the file")
            yield path


def _is_packed(directory: Path) -> bool:
    hidden = directory.name.startswith(".") or directory.name in IGNORED_DIRECTORIES
    return not hidden and not (directory / "pyvenv.cfg").exists()


def _refuse_too_large(files: CodeFiles, paths: Iterable[Path]) -> None:
    sizes = {path: path.stat().st_size for path in paths}
    total = sum(sizes.values())
    if total > LARGEST_ARCHIVE:
        largest = sorted(sizes, key=lambda path: -sizes[path])[:3]
        shown = ", ".join(f"{files.show(path)} ({sizes[path] / 1e6:.1f} MB)" for path in largest)
        raise CodeError(
            f"the code is {total / 1e6:.1f} MB, over {LARGEST_ARCHIVE / 1e6:g} MB: move what is no code "
            f"out of the package; its largest files are {shown}"
        )


def _name(path: Path, top: Path) -> str:
    name = path.relative_to(top).as_posix()
    if not _is_inside(name):
        raise CodeError(f"{name!r} is no name for a file of an archive: rename it")
    return name


def _is_inside(name: str) -> bool:
    """Return whether the name of a file in an archive leads to no place outside of it, on any system."""
    parts = PurePosixPath(name).parts
    return (
        bool(parts)
        and name.isprintable()
        and not (name.startswith("/") or ".." in parts or "\\" in name or ":" in name)
    )


def _digest(contents: Mapping[str, bytes]) -> str:
    """Return the SHA-256 of names and contents; the zip file itself depends on the version of zlib."""
    digest = hashlib.sha256()
    for name in sorted(contents):
        for part in (name.encode(), contents[name]):
            digest.update(len(part).to_bytes(8, "big") + part)
    return digest.hexdigest()


def _zip(contents: Mapping[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in sorted(contents):
            member = zipfile.ZipInfo(name)  # with the date of 1980 that it has by default
            member.compress_type = zipfile.ZIP_DEFLATED
            member.external_attr = (stat.S_IFREG | 0o600) << 16
            archive.writestr(member, contents[name])
    return buffer.getvalue()


def _list_absent(packages: Packages) -> Iterator[str]:
    for name in packages:
        if not is_installed(name):
            yield f"the code imports {name}, which is not installed here: a worker must have it"


def _list_warnings(contents: Mapping[str, bytes]) -> Iterator[str]:
    for name, content in sorted(contents.items()):
        whats = [what for what, pattern in SECRETS.items() if re.search(pattern, content)]
        if SECRET_NAMES.fullmatch(PurePosixPath(name).name):
            whats.insert(0, "secrets, by its name")
        if whats:
            yield f"the code has {name}, which seems to hold {whats[0]}: whoever reads the database can read it"

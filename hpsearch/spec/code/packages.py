"""The installed packages that a study's own code imports: their versions where it was started, and those here."""

from collections.abc import Iterator, Mapping
from functools import lru_cache
from importlib import metadata, util
from pathlib import Path

Packages = Mapping[str, str | None]
"""The version of each package by the name it is imported as; None where it has no single one."""


def is_installed(name: str) -> bool:
    """Return whether this process could import the module `name`."""
    return _find(name) is not None


def is_installed_outside(name: str, directory: Path) -> bool:
    """Return whether this process would import `name` from elsewhere than from `directory`."""
    place = _find(name)
    return place is not None and not place.resolve().is_relative_to(directory.resolve())


def _find(name: str) -> Path | None:
    try:
        spec = util.find_spec(name)
    except (ImportError, ValueError):
        return None
    places = [spec.origin] if spec and spec.origin else list(spec.submodule_search_locations or ()) if spec else []
    return Path(places[0]) if places else None


@lru_cache(maxsize=1)
def _list_distributions() -> Mapping[str, list[str]]:
    return metadata.packages_distributions()


def read_version(name: str) -> str | None:
    """Return the public version of what provides the import `name`; None where there is no such version, or several.

    Without the local part: a host with a GPU has `2.5.1+cu124` of what others have as `2.5.1+cpu`.
    """
    distributions = _list_distributions().get(name, ())
    versions = {metadata.version(distribution).partition("+")[0] for distribution in distributions}
    return versions.pop() if len(versions) == 1 else None


def read_versions(imports: Mapping[str, bool]) -> dict[str, str | None]:
    """Return the versions here of `imports` (name: whether it is required), but of optional ones that are absent."""
    return {name: read_version(name) for name, required in sorted(imports.items()) if required or is_installed(name)}


def describe_missing(packages: Packages) -> str | None:
    """Return which of `packages` this host lacks, or has in another version; None where it has them all."""
    missing = list(_list_missing(packages))
    if not missing:
        return None
    return (
        f"its code needs {', '.join(missing)}: install what is missing and restart the worker, "
        "or start the study's file again where other versions are installed, which accepts them"
    )


def _list_missing(packages: Packages) -> Iterator[str]:
    for name, version in packages.items():
        wanted = f"{name} {version}" if version else name
        if not is_installed(name):
            yield f"{wanted} (not installed here)"
        elif version and (here := read_version(name)) and here != version:
            yield f"{wanted} (here {here})"

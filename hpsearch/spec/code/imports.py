"""Which files a study's own code consists of: those referred to, and what they import of what lies beside them."""

import ast
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from hpsearch.spec.code import syntax
from hpsearch.spec.code.packages import is_installed_outside


class CodeError(Exception):
    """One line: what is wrong with the user's files, and what would be right."""


def find_import_root(file: Path) -> Path:
    """Return the directory from which `file` is imported: its own, or the one that holds the outermost package."""
    root = file.parent
    while (root / "__init__.py").is_file():
        root = root.parent
    return root


def list_import_roots(file: Path, directory: Path) -> list[Path]:
    """Return the directories from which `file` and what it needs are imported, where its study file is in `directory`.

    A study file within a package adds none: the package's modules would be found by their short names too.
    """
    inside = (directory / "__init__.py").is_file()
    return list(dict.fromkeys([find_import_root(file), *([] if inside else [directory])]))


def name_module(file: Path, root: Path) -> str:
    """Return the name as which `file` is imported from `root`."""
    parts = file.relative_to(root).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@dataclass
class CodeFiles:
    """Collects the files that are reached from those referred to.

    `directory` is the study file's, from which paths are shown and modules may be imported too.
    """

    directory: Path
    modules: dict[str, Path] = field(default_factory=dict)
    """Each file that is reached, by the name it is imported as."""
    imports: dict[str, bool] = field(default_factory=dict)
    """What is imported from elsewhere and is not Python's own: its top-level name, and whether it is required."""
    _roots: list[Path] = field(default_factory=list)

    def add(self, path: str, function: str) -> None:
        """Add the file at `path`, relative to the directory, which must define `function`.

        Raises:
            CodeError: it is missing, broken or without that function.
        """
        if Path(path).is_absolute():
            raise CodeError(f"{path} is no path from the study file: write one that does not begin at the root")
        file = Path(os.path.normpath(self.directory / path))
        if not file.is_file():
            raise CodeError(f"there is no file {path} in {self.directory}: give the path from the study file")
        root = find_import_root(file)
        self._roots = list(dict.fromkeys([*self._roots, *list_import_roots(file, self.directory)]))
        module = name_module(file, root)
        if file.suffix != ".py" or not all(part.isidentifier() for part in module.split(".")):
            raise CodeError(f"{path} cannot be imported: give it a name of letters, digits and _ that ends in .py")
        self._follow(syntax.ImportedModule(module, required=True))
        if not syntax.defines(self._parse(file), function):
            raise CodeError(f"{path} defines no {function}: write it there, or name what it does define")

    def show(self, file: Path) -> str:
        """Return the path of a file as messages have it."""
        return os.path.relpath(file, self.directory)

    def _reach(self, module: str, file: Path) -> None:
        """Add a module and what it imports."""
        if self.modules.setdefault(module, file) != file:
            raise CodeError(
                f"{self.show(self.modules[module])} and {self.show(file)} are both imported as {module}: rename one"
            )
        if not file.resolve().is_relative_to(find_import_root(file).resolve()):
            raise CodeError(f"{self.show(file)} is a link to a file elsewhere: copy the file")
        for imported in syntax.list_imports(self._parse(file), module, is_package=file.name == "__init__.py"):
            self._follow(imported)

    def _parse(self, file: Path) -> ast.Module:
        try:
            return syntax.parse(file.read_bytes())
        except ValueError as error:
            raise CodeError(f"{self.show(file)}: {error}") from None
        except OSError as error:
            raise CodeError(f"{self.show(file)} cannot be read: {error.strerror}") from None

    def _follow(self, imported: syntax.ImportedModule) -> None:
        top = imported.name.partition(".")[0]
        roots = [root for root in self._roots if self._is_beside(top, root)]
        for name, file in (module for root in roots for module in _locate(root, imported.name)):
            if self.modules.get(name) != file:
                self._refuse_shadowing(top, file)
                self._reach(name, file)
        if not roots and top not in sys.stdlib_module_names:
            self.imports[top] = self.imports.get(top, False) or imported.required

    def _is_beside(self, top: str, root: Path) -> bool:
        if (root / f"{top}.py").is_file() or (root / top / "__init__.py").is_file():
            return True
        # Python takes a directory without __init__.py only where nothing else has the name.
        return (root / top).is_dir() and top not in sys.stdlib_module_names and not is_installed_outside(top, root)

    def _refuse_shadowing(self, top: str, file: Path) -> None:
        """Raise CodeError where `top`, of which `file` is a part, is also a module of Python's or an installed one."""
        if top in sys.stdlib_module_names:
            raise CodeError(f"{self.show(file)} has the name of Python's own module {top}: rename it")
        if is_installed_outside(top, find_import_root(file)):
            raise CodeError(f"{self.show(file)} has the name of the installed package {top}: rename it")


def _locate(root: Path, name: str) -> Iterator[tuple[str, Path]]:
    """Yield the modules in `root` that importing `name` executes, outermost first; none where it is not in there."""
    place, parts = root, name.split(".")
    for depth, part in enumerate(parts, start=1):
        package, module = place / part / "__init__.py", place / f"{part}.py"
        if package.is_file():
            yield ".".join(parts[:depth]), package
        elif module.is_file():
            yield ".".join(parts[:depth]), module
            return
        place /= part

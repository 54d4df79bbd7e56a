"""What a Python file defines and imports, read from its syntax: nothing of it is executed."""

import ast
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

OPTIONAL = {"ImportError", "ModuleNotFoundError", "Exception", "BaseException"}
"""Who catches one of these goes on without the module."""


@dataclass(frozen=True)
class ImportedModule:
    """A module by its full name. It is `required` where the file cannot be imported without it."""

    name: str
    required: bool


def parse(source: bytes) -> ast.Module:
    """Return the syntax tree of a file.

    Raises:
        ValueError: it is no Python, with the line and what is wrong.
    """
    try:
        return ast.parse(source)
    except SyntaxError as error:
        where = f"line {error.lineno}: " if error.lineno else ""
        raise ValueError(f"{where}{error.msg}") from None
    except (ValueError, RecursionError, MemoryError) as error:
        raise ValueError(f"no Python file: {error or type(error).__name__}") from None


def defines(tree: ast.Module, name: str) -> bool:
    """Return whether importing the file may give it a global `name`: by a definition, an assignment or an import."""
    return any(bound in (name, "*") for statement in tree.body for bound in _list_bound(statement))


def _list_bound(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        yield node.name
        return
    if isinstance(node, ast.Import | ast.ImportFrom):
        yield from (alias.asname or alias.name.partition(".")[0] for alias in node.names)
    if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
        yield node.id
    for child in ast.iter_child_nodes(node):
        if not isinstance(child, ast.Lambda | ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp):
            yield from _list_bound(child)


def list_imports(tree: ast.Module, module: str, *, is_package: bool) -> Iterator[ImportedModule]:
    """Yield what the file imports, which is imported as `module`; of `from a import b` both `a` and `a.b`.

    `is_package`: it is the `__init__.py` of `module`.
    """
    package = module.split(".") if is_package else module.split(".")[:-1]
    return _list_imports(tree.body, package, required=True)


def _list_imports(nodes: Sequence[ast.AST], package: Sequence[str], *, required: bool) -> Iterator[ImportedModule]:
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (ImportedModule(alias.name, required) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = ".".join([*package[: len(package) - node.level + 1], *filter(None, [node.module])])
            name = base if node.level else node.module or ""
            yield from (
                ImportedModule(part, required)
                for part in (name, *(f"{name}.{alias.name}" for alias in node.names if alias.name != "*"))
                if part and not part.startswith(".")
            )
        elif isinstance(node, ast.If) and _names(node.test) & {"TYPE_CHECKING"}:
            yield from _list_imports(node.orelse, package, required=required)
        elif isinstance(node, ast.Try) and any(_catches_missing(handler) for handler in node.handlers):
            yield from _list_imports(node.body, package, required=False)
            yield from _list_imports([*node.handlers, *node.orelse, *node.finalbody], package, required=False)
        else:
            runs = required and not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
            yield from _list_imports(list(ast.iter_child_nodes(node)), package, required=runs)


def _catches_missing(handler: ast.ExceptHandler) -> bool:
    return handler.type is None or bool(_names(handler.type) & OPTIONAL)


def _names(node: ast.AST) -> set[str]:
    names = {child.id for child in ast.walk(node) if isinstance(child, ast.Name)}
    return names | {child.attr for child in ast.walk(node) if isinstance(child, ast.Attribute)}

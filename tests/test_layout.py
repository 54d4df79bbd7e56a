"""The layout of the code, counted: what keeps the way in short for whoever carries on."""

import ast
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "hpsearch"
SOURCES = sorted(PACKAGE.rglob("*.py"))
TESTS = sorted((ROOT / "tests").rglob("*.py"))

PACKAGES = {
    "analysis",
    "cli",
    "clusters",
    "dashboard",
    "evaluation",
    "mirror",
    "plotting",
    "report",
    "sampling",
    "spec",
    "storage",
    "training",
    "worker",
}
MODULES = {
    "api",
    "devices",
    "errors",
    "formatting",
    "markdown",
    "metrics",
    "outcomes",
    "scratch",
    "settings",
    "signals",
    "version",
}
"""What lies in `hpsearch/` itself."""

MODULES_OF_A_PACKAGE = 16
LINES_OF_A_FILE = 350
PREPOSITIONS = {"at", "every", "here", "of", "why"}
"""Names of functions that say nothing of what they do."""


def list_classes(file: Path) -> Iterator[str]:
    """Yield the name of every class in a file."""
    return (node.name for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.ClassDef))


def list_functions(file: Path) -> Iterator[str]:
    """Yield the name of every function and method in a file."""
    return (node.name for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.FunctionDef))


def test_the_package_holds_what_the_design_lists() -> None:
    """A new module goes into one of the packages."""
    assert {path.parent.name for path in PACKAGE.glob("*/__init__.py")} == PACKAGES
    assert {path.stem for path in PACKAGE.glob("*.py")} == MODULES | {"__init__"}


def test_the_tests_mirror_the_packages() -> None:
    """Each package has a folder of tests; the others are for whole systems and for what tests share."""
    folders = {path.parent.name for path in (ROOT / "tests").glob("*/__init__.py")}
    assert folders == PACKAGES | {"fault_injection", "integration", "support"}


def test_no_package_has_more_than_sixteen_modules() -> None:
    """A larger one is two packages."""
    sizes = Counter(file.parent.relative_to(ROOT) for file in SOURCES if file.name != "__init__.py")
    assert {str(package): size for package, size in sizes.items() if size > MODULES_OF_A_PACKAGE} == {}


def test_no_module_has_more_than_350_lines() -> None:
    """A longer one does more than one thing."""
    lengths = {str(file.relative_to(ROOT)): len(file.read_text().splitlines()) for file in SOURCES}
    assert {name: length for name, length in lengths.items() if length > LINES_OF_A_FILE} == {}


def test_no_two_classes_share_a_name() -> None:
    """A class's name says which one is meant, without its module."""
    names = Counter(name for file in SOURCES for name in list_classes(file))
    assert [name for name, count in names.items() if count > 1] == []


def test_no_function_is_called_by_a_preposition() -> None:
    """A function's name is a verb, wherever it is called from."""
    names = {
        f"{file.relative_to(ROOT)}: {name}" for file in SOURCES for name in list_functions(file) if name in PREPOSITIONS
    }
    assert names == set()


def test_no_test_imports_a_test() -> None:
    """What several tests need is in tests/support/ or a fixture."""
    assert {f"{file.relative_to(ROOT)}: {name}" for file in TESTS for name in list_imported_tests(file)} == set()


def list_imported_tests(file: Path) -> Iterator[str]:
    """Yield the test modules that a file imports."""
    for node in ast.walk(ast.parse(file.read_text())):
        imported = [alias.name for alias in node.names] if isinstance(node, ast.Import | ast.ImportFrom) else []
        if isinstance(node, ast.ImportFrom) and node.module:
            imported.append(node.module)
        yield from (name for name in imported if name.rpartition(".")[2].startswith("test_"))

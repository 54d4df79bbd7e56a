"""The archive of a study's own code: what is packed, what is refused, and what is read back."""

import io
import os
import zipfile
from pathlib import Path

import pytest

from hpsearch.spec.code import archive, changes
from hpsearch.spec.code.archive import CodeReference, DamagedCodeError
from hpsearch.spec.code.imports import CodeError

BUILD = "def build(hp, input_shape, classes):\n    pass\n"


def write_files(directory: Path, files: dict[str, str]) -> None:
    """Write files by their path."""
    for name, content in files.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)


def pack(directory: Path, reference: str = "my_model.py:build") -> CodeReference:
    """Pack the code of a study in `directory`."""
    return archive.pack({"model.build": reference}, directory)


def list_names(code: CodeReference) -> list[str]:
    """Return the names of the files that were packed."""
    assert code.archive is not None
    return list(archive.read(code.archive, code.sha256))


def find_fault(directory: Path, reference: str = "my_model.py:build") -> str:
    """Return why the code is refused: one line, which begins with the key."""
    with pytest.raises(CodeError) as refused:
        pack(directory, reference)
    line = str(refused.value)
    assert line.startswith("model.build: ")
    assert "\n" not in line
    return line.removeprefix("model.build: ")


def test_a_file_is_packed_with_the_siblings_that_it_imports(tmp_path: Path) -> None:
    """What it imports of what lies beside it comes along, and what those import; what lies there besides does not."""
    write_files(
        tmp_path,
        {
            "my_model.py": "import blocks\nfrom parts.heads import head\n" + BUILD,
            "blocks.py": "def f():\n    import deeper\n",
            "deeper.py": "",
            "parts/__init__.py": "",
            "parts/heads.py": "head = 1",
            "parts/sizes.yaml": "a: 1",
            "unrelated.py": "",
            "study.toml": "",
        },
    )
    assert list_names(pack(tmp_path)) == [
        "blocks.py",
        "deeper.py",
        "my_model.py",
        "parts/__init__.py",
        "parts/heads.py",
        "parts/sizes.yaml",
    ]


def test_a_package_is_packed_whole_but_for_what_is_no_code(tmp_path: Path) -> None:
    """The outermost package is the unit; caches, environments, data and models stay where they are."""
    write_files(
        tmp_path,
        {
            "pkg/__init__.py": "",
            "pkg/nets/__init__.py": "",
            "pkg/nets/model.py": "from ..blocks import block\n" + BUILD,
            "pkg/blocks.py": "def block(): pass",
            "pkg/unused.py": "import surely_not_installed",
            "pkg/config.json": "{}",
            "pkg/__pycache__/blocks.cpython-311.pyc": "",
            "pkg/.git/config": "",
            "pkg/env/pyvenv.cfg": "",
            "pkg/env/lib.py": "",
            "pkg/node_modules/a.js": "",
            "pkg/weights.KERAS": "",
            "pkg/images/cat.jpg": "",
            "pkg/arrays.npz": "",
        },
    )
    code = pack(tmp_path, "pkg/nets/model.py:build")
    assert list_names(code) == [
        "pkg/__init__.py",
        "pkg/blocks.py",
        "pkg/config.json",
        "pkg/nets/__init__.py",
        "pkg/nets/model.py",
        "pkg/unused.py",
    ]
    assert code.packages == {}


def test_the_same_files_have_the_same_digest_and_the_same_archive(tmp_path: Path) -> None:
    """Neither the directory's place nor the files' times count, a changed name or content does."""
    for name in ("a", "b", "c", "d"):
        write_files(tmp_path / name, {"my_model.py": "import other\n" + BUILD, "other.py": "x = 1\n"})
    os.utime(tmp_path / "b" / "other.py", (0, 0))
    (tmp_path / "c" / "other.py").write_text("x = 2\n")
    write_files(tmp_path / "d", {"my_model.py": "import others\n" + BUILD, "others.py": "x = 1\n"})
    first, second, third, fourth = (pack(tmp_path / name) for name in ("a", "b", "c", "d"))
    assert first == second
    assert first.archive == second.archive
    assert len({code.sha256 for code in (first, third, fourth)}) == 3


def test_a_file_above_the_study_file_is_packed_with_its_place(tmp_path: Path) -> None:
    """`../models/my_model.py` is found from the study file's directory in the archive too."""
    write_files(tmp_path, {"studies/x.toml": "", "models/my_model.py": BUILD})
    code = pack(tmp_path / "studies", "../models/my_model.py:build")
    assert code.directory == "studies"
    assert code.archive is not None
    place = archive.unpack(code.archive, code, make_directory(tmp_path / "private"))
    assert (place / "../models/my_model.py").read_text() == BUILD


def test_a_study_file_within_the_package_packs_the_package(tmp_path: Path) -> None:
    """Its archive begins at the package, not at the study file."""
    write_files(tmp_path, {"pkg/__init__.py": "", "pkg/my_model.py": "from . import rest\n" + BUILD, "pkg/rest.py": ""})
    code = pack(tmp_path / "pkg")
    assert code.directory == "pkg"
    assert list_names(code) == ["pkg/__init__.py", "pkg/my_model.py", "pkg/rest.py"]


def test_a_directory_without_init_is_packed_as_far_as_it_is_imported(tmp_path: Path) -> None:
    """Python imports from one as well."""
    write_files(tmp_path, {"my_model.py": "from lib import a\n" + BUILD, "lib/a.py": "", "lib/b.py": ""})
    code = pack(tmp_path)
    assert list_names(code) == ["lib/a.py", "my_model.py"]
    assert code.packages == {}


@pytest.mark.parametrize(
    "source",
    [
        "import functools\nbuild = functools.partial(print, 1)\n",
        "from other import build\n",
        "from other import f as build\n",
        "from other import *\n",
        "class build: ...\n",
        "try:\n    import x_not_there\nexcept ImportError:\n    def build(): ...\n",
        "first, build = 1, 2\n",
        "build: object = 1\n",
    ],
)
def test_whatever_binds_the_name_at_top_level_is_the_function(tmp_path: Path, source: str) -> None:
    """A definition, an assignment or an import."""
    write_files(tmp_path, {"my_model.py": source, "other.py": ""})
    assert "my_model.py" in list_names(pack(tmp_path))


@pytest.mark.parametrize("source", ["def other():\n    build = 1\n", "x = [build for build in ()]\n", "a.build = 1\n"])
def test_a_name_that_is_bound_elsewhere_is_no_function_of_the_file(tmp_path: Path, source: str) -> None:
    """A local variable, a loop of a comprehension or an attribute."""
    write_files(tmp_path, {"my_model.py": source})
    assert find_fault(tmp_path) == "my_model.py defines no build: write it there, or name what it does define"


def test_what_cannot_be_imported_is_refused_in_one_line(tmp_path: Path) -> None:
    """A missing file, a syntax error, what is no Python, a name that is no module's, and what is no reference."""
    write_files(tmp_path, {"my_model.py": "def build(:\n", "a-b.py": BUILD, "text.txt": BUILD, "dir/__init__.py": ""})
    assert find_fault(tmp_path) == "my_model.py: line 1: invalid syntax"
    assert find_fault(tmp_path, "my_modle.py:build").startswith("there is no file my_modle.py in ")
    assert find_fault(tmp_path, "dir:build").startswith("there is no file dir in ")
    assert find_fault(tmp_path, "a-b.py:build").startswith("a-b.py cannot be imported: ")
    assert find_fault(tmp_path, "text.txt:build").startswith("text.txt cannot be imported: ")
    assert "is no path from the study file" in find_fault(tmp_path, f"{tmp_path}/my_model.py:build")
    (tmp_path / "my_model.py").write_bytes(b"\0")
    assert find_fault(tmp_path).startswith("my_model.py: ")
    (tmp_path / "my_model.py").write_bytes(b"# -*- coding: iso-8859-15 -*-\n" + BUILD.encode())
    assert list_names(pack(tmp_path)) == ["my_model.py"]


def test_a_syntax_error_in_a_file_that_is_imported_names_that_file(tmp_path: Path) -> None:
    """With the line."""
    write_files(tmp_path, {"my_model.py": "import other\n" + BUILD, "other.py": "x = 1\ny = = 2\n"})
    assert find_fault(tmp_path) == "other.py: line 2: invalid syntax"


def test_a_file_with_the_name_of_another_module_is_refused(tmp_path: Path) -> None:
    """Python's own, an installed package, or a second file of the study."""
    write_files(tmp_path, {"keras.py": BUILD, "my_model.py": "import types\n" + BUILD, "types.py": ""})
    assert find_fault(tmp_path, "keras.py:build") == "keras.py has the name of the installed package keras: rename it"
    assert find_fault(tmp_path) == "types.py has the name of Python's own module types: rename it"
    write_files(tmp_path, {"m/my_model.py": "import utils\n" + BUILD, "m/utils.py": "", "utils.py": ""})
    assert "m/utils.py and utils.py are both imported as utils: rename one" in find_fault(
        tmp_path, "m/my_model.py:build"
    )


def test_no_link_leads_out_of_what_is_packed(tmp_path: Path) -> None:
    """Somebody else's directory may hold a link to anything; within a package links are followed."""
    write_files(tmp_path, {"secret.txt": "", "elsewhere.py": BUILD, "a/pkg/__init__.py": "", "a/pkg/model.py": BUILD})
    (tmp_path / "a" / "linked.py").symlink_to(tmp_path / "elsewhere.py")
    assert find_fault(tmp_path / "a", "linked.py:build") == "linked.py is a link to a file elsewhere: copy the file"
    (tmp_path / "a" / "pkg" / "same.py").symlink_to("model.py")
    (tmp_path / "a" / "pkg" / "everything").symlink_to(tmp_path)
    assert "a/secret.txt" not in list_names(code := pack(tmp_path / "a", "pkg/model.py:build"))
    assert list_names(code) == ["pkg/__init__.py", "pkg/model.py", "pkg/same.py"]
    (tmp_path / "a" / "pkg" / "notes.txt").symlink_to(tmp_path / "secret.txt")
    assert find_fault(tmp_path / "a", "pkg/model.py:build").startswith("pkg/notes.txt is a link to a file elsewhere")


def test_more_than_ten_megabytes_are_refused_with_the_largest_files(tmp_path: Path) -> None:
    """They are named with their sizes, the largest first."""
    write_files(tmp_path, {"pkg/__init__.py": "", "pkg/model.py": BUILD, "pkg/small.txt": "x" * 1_000_000})
    write_files(tmp_path, {"pkg/large.csv": "x" * 9_000_000, "pkg/data.txt": "x" * 2_000_000})
    assert find_fault(tmp_path, "pkg/model.py:build") == (
        "the code is 12.0 MB, over 10 MB: move what is no code out of the package; its largest files are "
        "pkg/large.csv (9.0 MB), pkg/data.txt (2.0 MB), pkg/small.txt (1.0 MB)"
    )


def test_secrets_are_warned_of(tmp_path: Path) -> None:
    """By the file's name, or by what is in it."""
    write_files(
        tmp_path,
        {
            "pkg/__init__.py": "",
            "pkg/model.py": "key = '-----BEGIN RSA " + "PRIVATE KEY-----'\n" + BUILD,
            "pkg/.env": "A=1",
            "pkg/settings.py": "key = 'AKIA" + "ABCDEFGHIJKLMNOP'",
            "pkg/fine.py": "private_key = None",
        },
    )
    warned = pack(tmp_path, "pkg/model.py:build").warnings
    assert [line.split(":")[0] for line in warned] == [
        "the code has pkg/.env, which seems to hold secrets, by its name",
        "the code has pkg/model.py, which seems to hold a private key",
        "the code has pkg/settings.py, which seems to hold an AWS key",
    ]


def test_packages_are_recorded_with_their_versions(tmp_path: Path) -> None:
    """Those the reached files import, from wherever; an absent one only where the import must succeed."""
    source = """
        import os.path, numpy as np
        from sklearn.metrics import f1_score
        import not_installed_a
        try:
            import not_installed_b, yaml
        except ImportError:
            yaml = None
        if TYPE_CHECKING:
            import not_installed_c
        def build():
            import not_installed_d, scipy
    """
    write_files(tmp_path, {"my_model.py": "import textwrap\n" + "\n".join(line[8:] for line in source.splitlines())})
    packages = pack(tmp_path).packages
    assert list(packages) == ["not_installed_a", "numpy", "scipy", "sklearn", "yaml"]
    assert packages["not_installed_a"] is None
    assert packages["numpy"] == __import__("numpy").__version__


def make_directory(path: Path) -> Path:
    """Make an empty directory."""
    path.mkdir()
    return path


def make_archive(files: dict[str, bytes]) -> bytes:
    """Return a zip file, whatever the names."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as packed:
        for name, content in files.items():
            packed.writestr(name, content)
    return buffer.getvalue()


@pytest.mark.parametrize("name", ["../evil.py", "/tmp/evil.py", "a/../../evil.py", "c:/evil.py", "a\\..\\evil.py"])
def test_an_archive_writes_nothing_outside_of_its_directory(tmp_path: Path, name: str) -> None:
    """Also where its SHA-256 is right, which whoever writes to the database can see to."""
    files = {name: b"x"}
    code = CodeReference(archive._digest(files))
    with pytest.raises(DamagedCodeError, match="outside"):
        archive.unpack(make_archive(files), code, make_directory(tmp_path / "private"))
    assert [path.name for path in tmp_path.iterdir()] == ["private"]
    with pytest.raises(DamagedCodeError, match="outside"):
        archive.unpack(make_archive({}), CodeReference(archive._digest({}), "../.."), tmp_path / "private")


def test_another_archive_than_was_stored_is_refused(tmp_path: Path) -> None:
    """A changed file, what is no archive at all, and one that is larger than any that is packed."""
    write_files(tmp_path, {"my_model.py": BUILD})
    code = pack(tmp_path)
    assert code.archive is not None
    assert archive.read(code.archive, code.sha256) == {"my_model.py": BUILD.encode()}
    with pytest.raises(DamagedCodeError, match="has the SHA-256"):
        archive.read(make_archive({"my_model.py": b"import os"}), code.sha256)
    for broken in (b"", b"no zip", code.archive[:40], code.archive.replace(b"PK\x01\x02", b"PK\x01\x03")):
        with pytest.raises(DamagedCodeError, match="cannot be read"):
            archive.read(broken, code.sha256)
    with pytest.raises(DamagedCodeError, match="more than 10 MB"):
        archive.read(make_archive({"zeros": bytes(10_000_001)}), code.sha256)


def test_the_changes_of_code_are_counted_file_by_file() -> None:
    """Lines added and removed; of what is no text the sizes."""
    before = {"a.py": b"1\n2\n3\n", "same.py": b"1\n", "gone.py": b"1\n2\n", "ends.py": b"1\n", "b.so": b"\0"}
    after = {"a.py": b"1\n4\n5\n3\n", "same.py": b"1\n", "new.py": b"1\n", "ends.py": b"1\r\n", "b.so": b"\0\0"}
    assert changes.list_changes(before, after) == [
        "a.py: +2 -1 lines",
        "b.so: 1 bytes before, 2 now",
        "ends.py: other line ends",
        "gone.py (removed): +0 -2 lines",
        "new.py (new): +1 -0 lines",
    ]

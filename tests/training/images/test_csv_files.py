"""A CSV of image files: each column and what may stand in it."""

from pathlib import Path

import numpy as np
import pytest

from hpsearch.errors import NotFoundError
from tests.support.image_files import draw, make_folders, read_all, read_path, save

ROWS = "".join(f"{name}/{number}.png,{name}\n" for number in range(3) for name in "ba")


def write_csv(root: Path, text: str, encoding: str = "utf-8") -> Path:
    make_folders(root)
    file = root / "images.csv"
    file.write_text(text, encoding)
    return file


def test_csv_gives_its_files_in_its_order(tmp_path: Path) -> None:
    """Paths are relative to the CSV; classes are in the order of their names."""
    images = read_path(write_csv(tmp_path / "data", f"path,label\n{ROWS}"))
    assert images.classes == ("a", "b")
    assert images.labels.tolist() == [1, 0, 1, 0, 1, 0]
    assert images.parts.tolist() == [0] * 6
    assert images.groups is None
    assert images.names[:2] == ["b/0.png", "a/0.png"]
    assert np.array_equal(read_all(images)[:3], np.stack([draw(100), draw(0), draw(101)]))


def test_labels_need_not_be_folders(tmp_path: Path) -> None:
    """Numbers are ordered by their value; a file may lie anywhere and have any suffix."""
    root = tmp_path / "data"
    rows = []
    for number, label in enumerate(["10", "9", "x"] * 3):
        save(tmp_path / "elsewhere" / f"{number}.png", draw(number)).rename(tmp_path / "elsewhere" / f"{number}.dat")
        rows.append(f"{tmp_path}/elsewhere/{number}.dat,{label}\n")
    images = read_path(write_csv(root, f"path,label\n{''.join(rows)}"))
    assert images.classes == ("9", "10", "x")
    assert images.labels.tolist() == [1, 0, 2] * 3


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_header_may_have_other_columns_in_any_order(tmp_path: Path, encoding: str) -> None:
    """Also upper case, blanks, quotes, empty lines, and the mark that spreadsheets put first."""
    rows = "".join(f'0.5,"{name}", {name}/{number}.png,"x,y"\n\n' for number in range(3) for name in "ab")
    images = read_path(write_csv(tmp_path / "data", f"Age, Label ,PATH,note\n{rows}", encoding))
    assert images.labels.tolist() == [0, 1] * 3


def test_split_gives_the_parts(tmp_path: Path) -> None:
    """train, validation under any of its names, and test, in any case."""
    splits = ["train", "Train", "val", "valid", "test", "TEST"]
    rows = "".join(f"{row},{split}\n" for row, split in zip(ROWS.split(), splits, strict=True))
    images = read_path(write_csv(tmp_path / "data", f"path,label,split\n{rows}"))
    assert images.parts.tolist() == [0, 0, 1, 1, 2, 2]
    assert images.passed_over == {}


def test_groups_are_told_apart_by_name(tmp_path: Path) -> None:
    """Images of one patient or scene have one number."""
    groups = ["p2", "p1", "p2", "3", "p1", "3"]
    rows = "".join(f"{row},{group}\n" for row, group in zip(ROWS.split(), groups, strict=True))
    images = read_path(write_csv(tmp_path / "data", f"path,label,group\n{rows}"))
    assert images.groups is not None
    assert images.groups.dtype == np.int64
    assert images.groups.tolist() == [2, 1, 2, 0, 1, 0]


def change_row(row: str) -> str:
    return f"path,label,split,group\n{ROWS.replace(chr(10), f',train,g{chr(10)}')}{row}\n"


FAULTS = {
    "empty": ("", "the header '' lacks `path` and `label`: it begins as path,label"),
    "header alone": ("path,label\n", "images.csv holds no images"),
    "no label": (f"path,class\n{ROWS}", "the header 'path,class' lacks `label`"),
    "semicolons": (
        f"path;label\n{ROWS}",
        "the header 'path;label' lacks `path` and `label`: it begins as path,label, with split and group if there are "
        "such; commas separate the columns",
    ),
    "column twice": (f"path,label,Label\n{ROWS}", "the header names `label` twice"),
    "short row": (change_row("a/9.png"), "images.csv, line 8: there are 1 fields, too few"),
    "empty label": (change_row("a/9.png, ,train,g"), "images.csv, line 8: `label` is empty"),
    "empty path": (change_row(",a,train,g"), "images.csv, line 8: `path` is empty"),
    "empty group": (change_row("a/9.png,a,train,"), "images.csv, line 8: `group` is empty"),
    "unknown split": (change_row("a/9.png,a,dev,g"), "line 8: `split` is 'dev': train, validation or test"),
    "same file by another way": (change_row("a/../a/0.png,a,train,g"), "images.csv names a/0.png in the lines 3 and 8"),
    "same file twice": (change_row("./a/0.png,a,train,g"), "images.csv names a/0.png in the lines 3 and 8"),
    "missing file": (change_row("a/9.png,a,train,g"), "data/a/9.png cannot be read: No such file or directory"),
    "a folder": (change_row("a,a,train,g"), "data/a cannot be read: Is a directory"),
    "another kind": (change_row("images.csv,a,train,g"), "images.csv is no bmp, gif, jpeg, png or webp image"),
    "new class in test": (change_row("a/9.png,c,test,g"), "there is no image of c in the training part"),
    "no training": ("path,label,split\na/0.png,a,test\nb/0.png,b,test\n", "no images to train on"),
    "one class": ("path,label\na/0.png,a\na/1.png,a\n", "the only class is a: at least two"),
    "few of a class": (f"path,label\n{ROWS}a/../a/9.png,c\n", r"too few images of c \(1\): a class needs 3"),
    "quote left open": (f'path,label\n"{ROWS}', "is no CSV file in UTF-8: unexpected end of data"),
    "null": (f"path,label\n{ROWS}a\0.png,a\n", "images.csv, line 8: `path` holds a null character"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_csv_that_cannot_be_meant_is_named(tmp_path: Path, fault: str) -> None:
    """One line names the file, the line in it and what is wrong."""
    text, message = FAULTS[fault]
    with pytest.raises(NotFoundError, match=message) as caught:
        read_path(write_csv(tmp_path / "data", text))
    assert "\n" not in str(caught.value)
    assert "\0" not in str(caught.value)


def test_csv_in_another_encoding_is_named(tmp_path: Path) -> None:
    """Latin 1 is not taken for UTF-8."""
    with pytest.raises(NotFoundError, match=r"images.csv is no CSV file in UTF-8"):
        read_path(write_csv(tmp_path / "data", "path,label\nä.png,ä\n", "latin-1"))

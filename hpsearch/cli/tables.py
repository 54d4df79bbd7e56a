"""Tables of text for a terminal of any width: where the rows do not fit, a line for each of their cells.

A figure is never cut, because one that is cut is another figure.
"""

import shutil
import sys
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from hpsearch.formatting import make_printable

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderResult
    from rich.table import Table

UNWRAPPED_WIDTH = 20
"""Characters of a cell that is not broken into lines where the terminal is narrow: a figure, a date, a host."""

GAP = 3
"""Characters between two columns."""

UNBOUNDED = 10_000
"""The width of a pipe or a file."""

Row = tuple[str, ...]


class FittedTable:
    """A table for Rich, whose cells are shown as they are, whatever brackets or terminals' codes are in them."""

    def __init__(self, columns: Iterable[str], rows: Iterable[Iterable[str]]) -> None:
        self.columns = tuple(make_printable(name) for name in columns)
        self.rows = [tuple(make_printable(cell) for cell in row) for row in rows]

    def __rich_console__(self, console: "Console", options: "ConsoleOptions") -> "RenderResult":
        if self.measure_width() <= options.max_width:
            yield self._make_table()
        else:
            yield "\n".join(["", *list_cells(self.columns, self.rows), ""])

    def measure_width(self) -> int:
        """Return how many characters the table needs for no cell to be broken but those of many words."""
        from rich.cells import cell_len

        columns = zip(self.columns, *self.rows, strict=True)
        widths = [max(cell_len(cell) for cell in column) for column in columns]
        return sum(min(width, UNWRAPPED_WIDTH) for width in widths) + GAP * len(widths)

    def _make_table(self) -> "Table":
        from rich import box
        from rich.table import Column, Table
        from rich.text import Text

        header = [
            Column(Text(name), no_wrap=all(len(row[place]) <= UNWRAPPED_WIDTH for row in self.rows), overflow="fold")
            for place, name in enumerate(self.columns)
        ]
        table = Table(*header, box=box.SIMPLE_HEAD, pad_edge=False)
        for row in self.rows:
            table.add_row(*(Text(cell) for cell in row))
        return table


def list_cells(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    """Yield a line for each cell that is not empty, with its column's name, and an empty line between two rows."""
    width = max(len(name) for name in columns)
    for number, row in enumerate(rows):
        if number:
            yield ""
        yield from (f"{name:<{width}}  {cell}" for name, cell in zip(columns, row, strict=True) if cell)


def list_rows(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    """Yield the lines of a table that may have thousands of rows; on a terminal its last column is wrapped.

    It looks as `FittedTable`, for which Rich takes half a second a thousand rows.
    """
    columns, *printable = lines = [[make_printable(cell) for cell in row] for row in (columns, *rows)]
    widths = [max(len(line[place]) for line in lines) for place in range(len(columns) - 1)]
    indent = sum(widths) + GAP * len(widths)
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else UNBOUNDED
    if indent + UNWRAPPED_WIDTH > width:
        yield from list_cells(columns, printable)
        return
    last = min(max(len(line[-1]) for line in lines), width - indent)

    def wrap(line: Sequence[str]) -> Iterator[str]:
        cells = "".join(f"{cell:<{size}}{' ' * GAP}" for cell, size in zip(line, widths, strict=False))
        first, *others = textwrap.wrap(line[-1], last) or [""]
        yield (cells + first).rstrip()
        yield from (" " * indent + other for other in others)

    yield from wrap(columns)
    yield "─" * (indent + last)
    for row in printable:
        yield from wrap(row)

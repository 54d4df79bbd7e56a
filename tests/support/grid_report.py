"""A small grid, finished, and its report."""

import re
from pathlib import Path
from typing import Any

from sqlalchemy import text

from hpsearch.report import report
from hpsearch.report.material import ReportMaterial, prepare_material, read_source
from hpsearch.storage.database import Database

GRID: dict[str, Any] = {
    "study": {"name": "grid", "description": "Which optimizer is best?"},
    "budget": {"epochs": 4, "repeats": 3, "patience": 9},
    "space": {"optimizer": ["sgd", "adam"]},
    "sampler": {"name": "grid"},
}


def read_material(database: Database, name: str) -> ReportMaterial:
    """Return what a report of the study is written from."""
    return prepare_material(database.transact(lambda connection: read_source(connection, name)))


def write_report(database: Database, name: str, place: Path) -> tuple[str, str]:
    """Write a report; return it as HTML without plotly's own script, and as Markdown."""
    source = database.transact(lambda connection: read_source(connection, name))
    page = report.write(source, place)
    html = re.sub(r"<script>/\*\*.*?</script>", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    return html, (page.parent / "report.md").read_text(encoding="utf-8")


def query_rows(database: Database, query: str) -> list[Any]:
    """Return the rows of a query."""
    return database.transact(lambda connection: list(connection.execute(text(query)).all()))

"""The query by which an autoscaler asks how many more workers there is work for, of the view `hpsearch.backlog`.

The view has a row for each running study: its `name` and `priority`, how many more trials workers could hold right now
(`free`, null where the spec cannot be read) and how many they hold (`held`).
"""

from collections.abc import Sequence

QUERY = "select coalesce(sum(case when free = 0 and held = 0 then 1 else free end), 0)::int from hpsearch.backlog"
"""One integer in one row. A running study with nothing free and nothing held is over: a worker's look finishes it."""


def make_query(study_names: Sequence[str] = ()) -> str:
    """Return the query over all running studies, or those of `study_names`, to be sent as it is."""
    names = ", ".join(_quote(name) for name in study_names)
    return f"{QUERY} where name in ({names})" if names else QUERY


def _quote(name: str) -> str:
    """Return a text as a literal of SQL, whatever `standard_conforming_strings` is."""
    doubled = name.replace("\\", "\\\\").replace("'", "''")
    return f"E'{doubled}'"

"""The user's own code on this host: whether a worker may run a study's, and the directory it is unpacked into."""

import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from hpsearch import scratch, settings
from hpsearch.spec.code import archive
from hpsearch.spec.code.archive import CodeReference, DamagedCodeError
from hpsearch.spec.code.packages import describe_missing
from hpsearch.storage.database import Database
from hpsearch.storage.studies import Study
from hpsearch.storage.tables import code as code_table


class CodeDirectories:
    """Keeps the code of studies in a private directory, each archive unpacked once, as long as the worker serves.

    `note` prints a line. All slots of a worker share it.

    Raises:
        UsageError: see `settings.serves_own_code`.
    """

    def __init__(self, database: Database, note: Callable[[str], None]) -> None:
        self._database, self._note = database, note
        self._allowed = settings.serves_own_code()
        self._lock = threading.Lock()
        self._stack = ExitStack()
        self._root: Path | None = None
        self._places: dict[CodeReference, Path] = {}
        self._damaged: dict[CodeReference, str] = {}
        self._refusals: dict[int, str] = {}

    @property
    def has_refused(self) -> bool:
        """Whether there is a study whose code does not run here."""
        return bool(self._refusals)

    def refuses(self, study_id: int) -> bool:
        """Return whether `prepare` has found that the study's code does not run here."""
        return study_id in self._refusals

    def prepare(self, study: Study) -> bool:
        """Return whether the study is served here; where it has code, that is unpacked. Why it is not is said once.

        Raises:
            UnreachableError: the database does not answer.
        """
        code = study.spec.code
        if code is None:
            return True
        with self._lock:
            obstacle = self._prepare(code)
            if obstacle is None:
                self._refusals.pop(study.study_id, None)
                return True
            if self._refusals.get(study.study_id) != obstacle:
                self._note(f"{study.name} is not served here: {obstacle}")
                self._refusals[study.study_id] = obstacle
            return False

    def find(self, code: CodeReference | None) -> Path | None:
        """Return the study file's directory in the code that `prepare` has unpacked; None for a study without code."""
        return None if code is None else self._places[code]

    def close(self) -> None:
        """Remove what was unpacked."""
        self._stack.close()

    def _prepare(self, code: CodeReference) -> str | None:
        if not self._allowed:
            return "it has code of its own, and HPSEARCH_CODE=refuse is set"
        if missing := describe_missing(code.packages):
            return missing
        if code not in self._places and code not in self._damaged:
            try:
                self._places[code] = self._unpack(code)
            except DamagedCodeError as error:
                self._damaged[code] = f"{error}: start the study's file again, then restart this worker"
            except OSError as error:
                self._damaged[code] = f"its code cannot be written to {error.filename} ({error.strerror})"
        return self._damaged.get(code)

    def _unpack(self, code: CodeReference) -> Path:
        packed = self._database.execute(lambda connection: code_table.fetch(connection, code.sha256))
        if packed is None:
            raise DamagedCodeError("its archive is no longer in the database")
        if self._root is None:
            self._root = self._stack.enter_context(scratch.make_directory("code"))
        return archive.unpack(packed, code, Path(tempfile.mkdtemp(dir=self._root)))


@contextmanager
def unpack_locally(code: CodeReference | None) -> Iterator[Path | None]:
    """Unpack the code of a study file that was just read, as a worker would, and remove it after the block.

    Yields the study file's directory in it; None for a study without code.
    """
    if code is None:
        yield None
        return
    assert code.archive is not None
    with scratch.make_directory("code") as directory:
        yield archive.unpack(code.archive, code, directory)

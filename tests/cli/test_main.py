"""The commands, as a user types them."""

import csv
import io
import json
import os
import shlex
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from hpsearch.errors import ExitCode
from hpsearch.version import __version__
from tests.support.commands import hpsearch, one_line

SMALL = """
[study]
name = "small"
[budget]
trials = 2
epochs = 1
[data]
name = "digits"
[space]
learning_rate = { low = 1e-4, high = 1e-1, log = true }
optimizer = ["sgd", "adam"]
"""


@pytest.fixture
def study_file(tmp_path: Path) -> Path:
    """A small study's file."""
    file = tmp_path / "small.toml"
    file.write_text(SMALL)
    return file


def test_help_imports_no_heavy_library() -> None:
    """`hpsearch --help` loads neither Keras, Optuna, SQLAlchemy nor pydantic."""
    program = (
        "import sys; from hpsearch.cli import main\n"
        "sys.argv = ['hpsearch', '--help']\n"
        "try: main.main()\n"
        "except SystemExit as ended: assert not ended.code\n"
        "print(*{name.split('.')[0] for name in sys.modules}, file=sys.stderr)"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert "start-study" in ended.stdout
    assert not {"keras", "tensorflow", "optuna", "sqlalchemy", "pydantic", "numpy"} & set(ended.stderr.split())


@pytest.mark.parametrize("command", [(), ("db",), ("launch",)])
def test_help_names_every_command_in_a_whole_line(command: tuple[str, ...]) -> None:
    """At 80 columns no command's line is cut off, and -h is the same as --help."""
    ended = hpsearch(*command, "-h", COLUMNS="80")
    assert ended.returncode == ExitCode.DONE
    assert "Commands:" in ended.stdout
    assert "..." not in ended.stdout.replace("[ARGS]...", "")
    assert ended.stdout == hpsearch(*command, "--help", COLUMNS="80").stdout


def test_every_command_knows_the_short_help() -> None:
    """-h works after a command as before it."""
    assert "--drain" in hpsearch("worker", "-h").stdout


def test_version_is_one_line() -> None:
    """--version prints the version on stdout, and nothing else."""
    ended = hpsearch("--version")
    assert (ended.returncode, ended.stdout, ended.stderr) == (ExitCode.DONE, f"hpsearch {__version__}\n", "")


def test_shell_completes_the_commands() -> None:
    """Called by the script of --install-completion, `hpsearch` offers the commands that fit."""
    program = "import sys; sys.argv = ['hpsearch']; from hpsearch.cli.main import main; main()"
    ended = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "_HPSEARCH_COMPLETE": "complete_bash", "COMP_WORDS": "hpsearch st", "COMP_CWORD": "1"},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert ended.stdout.split() == ["start-study", "status", "stop"]


def test_status_results_and_a_claim_need_neither_optuna_nor_numpy(storage: str, study_file: Path) -> None:
    """What is to answer at once, and what a worker is before it holds a trial, loads no library that takes as long."""
    assert hpsearch("start-study", str(study_file), "--storage", storage).returncode == 0
    program = (
        "import sys; from hpsearch.cli import main\n"
        "for arguments in (['status'], ['results', 'small']):\n"
        "    sys.argv = ['hpsearch', *arguments, '--storage', sys.argv[-1]]\n"
        "    try: main.main()\n"
        "    except SystemExit as ended: assert not ended.code\n"
        "import hpsearch.worker.worker\n"
        "from hpsearch.storage import claims, database, workers\n"
        "from hpsearch.storage.artifacts import cleanup\n"
        "there, holder = database.Database(sys.argv[-1]), workers.WorkerIdentity('w', 'host', 'CPU')\n"
        "there.transact(lambda c: workers.register(c, holder, 1))\n"
        "cleanup.collect_garbage(there)\n"
        "there.transact(claims.end_abandoned)\n"
        "assert there.transact(lambda c: claims.claim_trial(c, 1, holder)) is not None\n"
        "print(*{name.split('.')[0] for name in sys.modules}, file=sys.stderr)"
    )
    command = [sys.executable, "-c", program, storage]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert "small" in ended.stdout
    assert "sqlalchemy" in ended.stderr.split()
    assert not {"optuna", "numpy", "scipy", "matplotlib", "boto3", "keras"} & set(ended.stderr.split())


@pytest.fixture
def started_small(storage: str, study_file: Path) -> str:
    """The storage with a study in it."""
    assert hpsearch("start-study", str(study_file), "--storage", storage).returncode == 0
    return storage


@pytest.mark.parametrize("form", [(), ("--csv",), ("--json",)])
def test_full_disk_under_stdout_is_one_line(started_small: str, form: tuple[str, ...]) -> None:
    """Where stdout takes no more, the last line says why, and nothing is a traceback."""
    command = [sys.executable, "-m", "hpsearch.cli.main", "results", "small", *form, "--storage", started_small]
    with Path("/dev/full").open("w") as full:
        ended = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, timeout=120, check=False)
    assert ended.returncode == ExitCode.USAGE
    *before, line = ended.stderr.splitlines()
    assert line.startswith("hpsearch: stdout cannot be written to (No space left on device): ")
    assert before in ([], ["small is running; values are the best epoch's val_accuracy"])


@pytest.mark.parametrize("form", [(), ("--csv",), ("--json",)])
@pytest.mark.parametrize("how", ["| true", ">&-"])
def test_stdout_that_nobody_reads_ends_the_command_quietly(started_small: str, form: tuple[str, ...], how: str) -> None:
    """A reader who left, or a stream that the caller closed, is no fault of the command's."""
    command = shlex.join(
        [sys.executable, "-m", "hpsearch.cli.main", "results", "small", *form, "--storage", started_small]
    )
    shell = ["bash", "-o", "pipefail", "-c", f"{command} {how}"]
    ended = subprocess.run(shell, capture_output=True, text=True, timeout=120, check=False)
    assert ended.returncode == ExitCode.DONE, ended.stderr
    assert ended.stderr.splitlines() in ([], ["small is running; values are the best epoch's val_accuracy"])


@pytest.mark.parametrize(
    ("encoding", "shown"),
    [
        ("ascii", b"? Gr??e ?? ?\n"),
        ("latin-1", b"? Gr\xf6\xdfe ?? ?\n"),
        ("cp1252", b"? Gr\xf6\xdfe ?? ?\n"),
        ("utf-8", "─ Größe 模型 ?\n".encode()),
    ],
)
def test_what_stdout_cannot_show_is_replaced(encoding: str, shown: bytes) -> None:
    """A character that the encoding of stdout lacks, or that is half of one, ends no command."""
    program = "from hpsearch.cli import stdio; stdio.prepare(); print('\\u2500 Gr\\xf6\\xdfe \\u6a21\\u578b \\udcff')"
    environment = {**os.environ, "PYTHONIOENCODING": encoding}
    ended = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, check=False)
    assert (ended.stdout, ended.stderr) == (shown, b"")


def test_results_are_printed_on_a_stdout_that_is_not_utf8(started_small: str) -> None:
    """The table of a study is printed with what the encoding of stdout has."""
    ended = hpsearch("results", "small", "--storage", started_small, PYTHONIOENCODING="ascii")
    assert ended.returncode == ExitCode.DONE, ended.stderr
    assert "trial   outcome" in ended.stdout
    assert "????" in ended.stdout


@pytest.mark.parametrize("command", [(), ("db",)])
def test_a_command_alone_prints_its_help_and_nothing_else(command: tuple[str, ...]) -> None:
    """Who types no more than `hpsearch` reads the help, not an error about it."""
    ended = hpsearch(*command)
    assert ended.returncode == ExitCode.USAGE
    assert ended.stderr.startswith("Usage: ")
    assert "see --help" not in ended.stderr


def test_start_study_keeps_files_where_the_environment_says(storage: str, study_file: Path, tmp_path: Path) -> None:
    """HPSEARCH_ARTIFACTS is recorded with a new study and printed; what is no place is refused before that."""
    start = "start-study", str(study_file), "--storage", storage
    line = one_line(hpsearch(*start, HPSEARCH_ARTIFACTS="relative"), ExitCode.USAGE)
    assert line == (
        "hpsearch: HPSEARCH_ARTIFACTS: this names no place for files: write a directory (/path or file:///path), "
        "or s3://bucket/prefix"
    )
    (tmp_path / "place").write_text(f"{tmp_path}\n")
    ended = hpsearch(*start, "--json", HPSEARCH_ARTIFACTS_FILE=str(tmp_path / "place"))
    artifacts = json.loads(ended.stdout)["artifacts"]
    assert artifacts.startswith(f"file://{tmp_path}/small-")
    assert json.loads(hpsearch(*start, "--json").stdout)["artifacts"] == artifacts
    assert f"checkpoints and models in {artifacts}" in ended.stderr
    assert hpsearch("delete", "small", "--yes", "--storage", storage).returncode == 0
    assert not list(tmp_path.glob("small-*"))


def test_start_study_says_what_was_made_and_what_to_type_next(storage: str, study_file: Path) -> None:
    """A new study is printed with its size, and the two commands that come next."""
    ended = hpsearch("start-study", str(study_file), "--storage", storage)
    assert ended.returncode == ExitCode.DONE
    assert "made study small: 2 trials of up to 1 epochs on digits" in ended.stderr
    assert "hpsearch worker" in ended.stderr
    assert "hpsearch dashboard" in ended.stderr


def test_start_study_as_json_prints_json_alone(storage: str, study_file: Path) -> None:
    """With --json, stdout is one JSON document."""
    document = json.loads(hpsearch("start-study", str(study_file), "--json", "--storage", storage).stdout)
    expected = {"study": "small", "made": True, "status": "running", "trials": 2}
    assert document.items() >= expected.items()


def test_start_study_without_a_file_starts_the_default_study(storage: str) -> None:
    """The default study comes with the package."""
    document = json.loads(hpsearch("start-study", "--json", HPSEARCH_STORAGE=storage).stdout)
    assert (document["study"], document["trials"]) == ("cifar10-cnn", 100)


def test_same_study_with_more_trials_is_extended(storage: str, study_file: Path) -> None:
    """Started again with --trials, a study is given that budget, and says so."""
    hpsearch("start-study", str(study_file), "--storage", storage)
    ended = hpsearch("start-study", str(study_file), "--trials", "7", "--storage", storage)
    assert ended.returncode == ExitCode.DONE
    assert "budget.trials: 2 becomes 7" in ended.stderr


def test_same_name_with_another_search_is_refused(storage: str, study_file: Path) -> None:
    """Another seed under the same name ends with its own exit code and the difference."""
    hpsearch("start-study", str(study_file), "--storage", storage)
    ended = hpsearch("start-study", str(study_file), "--set", "study.seed=1", "--storage", storage)
    assert ended.returncode == ExitCode.REFUSED
    assert "study.seed: 0 in the database, 1 in the file" in ended.stderr


def test_faulty_study_file_writes_nothing(storage: str, tmp_path: Path) -> None:
    """Every fault is a line of `field: remedy`, the exit code is 2, and no study appears."""
    file = tmp_path / "faulty.toml"
    file.write_text(SMALL.replace("low = 1e-4", "low = 1.0").replace('"sgd"', '"sdg"') + "\n[pruner]\nname='medain'\n")
    ended = hpsearch("start-study", str(file), "--storage", storage)
    assert ended.returncode == ExitCode.USAGE
    assert "Traceback" not in ended.stderr
    lines = ended.stderr.splitlines()
    assert len(lines) == 3
    for field, line in zip(("space.learning_rate", "space.optimizer", "pruner.name"), lines, strict=True):
        assert field in line
    assert json.loads(hpsearch("status", "--json", "--storage", storage).stdout)["studies"] == []


@pytest.mark.parametrize("broken", ["missing", "directory", "latin-1", "not toml"])
def test_unreadable_study_file_is_one_line(storage: str, tmp_path: Path, broken: str) -> None:
    """A file that cannot be read as a study is named, with exit code 2."""
    file = tmp_path / "study.toml"
    if broken == "directory":
        file.mkdir()
    elif broken == "latin-1":
        file.write_bytes("[study]\nname = 'é'".encode("latin-1"))
    elif broken == "not toml":
        file.write_text("[study\nname=")
    assert str(file) in one_line(hpsearch("start-study", str(file), "--storage", storage), ExitCode.USAGE)


@pytest.mark.parametrize("command", [["status"], ["results", "x"], ["worker", "--cpu"], ["start-study"], ["dashboard"]])
def test_unreachable_database_is_one_line_without_the_password(command: list[str]) -> None:
    """Every command that opens the database ends with 4 and one line where nobody answers."""
    line = one_line(hpsearch(*command, HPSEARCH_STORAGE="postgresql://me:s3cret@127.0.0.1:1/x"), ExitCode.DATABASE)
    assert "s3cret" not in line
    assert "127.0.0.1:1" in line


def test_wrong_driver_is_one_line_without_the_password() -> None:
    """A URL of another database is refused."""
    line = one_line(hpsearch("status", HPSEARCH_STORAGE="mysql://me:s3cret@host/x"), ExitCode.DATABASE)
    assert "s3cret" not in line


def test_storage_from_a_file_is_named_as_the_source(tmp_path: Path) -> None:
    """HPSEARCH_STORAGE_FILE holds the URL, and the error says that it came from there."""
    secret = tmp_path / "url"
    secret.write_text("postgresql://me:s3cret@127.0.0.1:1/x\n")
    line = one_line(hpsearch("status", HPSEARCH_STORAGE_FILE=str(secret)), ExitCode.DATABASE)
    assert "HPSEARCH_STORAGE_FILE" in line
    assert "s3cret" not in line


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["results", "nowhere"], ExitCode.NOT_FOUND),
        (["status", "nowhere"], ExitCode.NOT_FOUND),
        (["worker", "--cpu", "--study", "nowhere"], ExitCode.NOT_FOUND),
        (["worker", "--gpu", "77"], ExitCode.NOT_FOUND),
        (["worker", "--cpu", "--gpu", "0"], ExitCode.USAGE),
        (["worker", "--trials", "0"], ExitCode.USAGE),
        (["worker", "--no-such-option"], ExitCode.USAGE),
        (["results"], ExitCode.USAGE),
        (["no-such-command"], ExitCode.USAGE),
        (["results", "x", "--json", "--csv"], ExitCode.USAGE),
    ],
)
def test_bad_usage_is_one_line_and_has_its_exit_code(storage: str, arguments: list[str], code: ExitCode) -> None:
    """What is not there ends with 3, what makes no sense with 2, each in one line."""
    one_line(hpsearch(*arguments, HPSEARCH_STORAGE=storage), code)


def test_dashboard_port_in_use_is_one_line(storage: str) -> None:
    """A port that somebody listens on is refused with what to do."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        line = one_line(hpsearch("dashboard", "--port", port, "--storage", storage), ExitCode.USAGE)
    assert "choose another --host or --port" in line


@pytest.mark.tensorflow
def test_search_from_start_to_results(storage: str, study_file: Path) -> None:
    """start-study, worker --drain, status and results tell one story, in every format."""
    hpsearch("start-study", str(study_file), "--storage", storage)
    worked = hpsearch("worker", "--cpu", "--drain", "--storage", storage)
    assert worked.returncode == ExitCode.DONE, worked.stderr
    assert worked.stdout == ""
    first = worked.stderr.splitlines()[0]
    assert "CPU" in first
    assert "database" in first

    status = json.loads(hpsearch("status", "small", "--json", "--storage", storage).stdout)["studies"][0]
    assert status["status"] == "finished"
    assert sum(status["counts"].values()) == 2

    document = json.loads(hpsearch("results", "small", "--json", "--storage", storage).stdout)
    assert [trial["number"] for trial in document["trials"]] == [0, 1]
    assert all(len(trial["epochs"]) == 1 for trial in document["trials"])

    rows = list(csv.DictReader(io.StringIO(hpsearch("results", "small", "--csv", "--storage", storage).stdout)))
    assert [float(row["learning_rate"]) for row in rows] == [t["params"]["learning_rate"] for t in document["trials"]]

    for command in (["status"], ["results", "small"]):
        shown = hpsearch(*command, "--storage", storage)
        assert shown.returncode == ExitCode.DONE
        assert "trial" in shown.stdout


@pytest.mark.tensorflow
def test_worker_leaves_after_the_trials_it_was_given(storage: str, study_file: Path) -> None:
    """--trials 1 trains one trial and leaves the study running."""
    hpsearch("start-study", str(study_file), "--storage", storage)
    hpsearch("worker", "--cpu", "--trials", "1", "--storage", storage)
    status = json.loads(hpsearch("status", "small", "--json", "--storage", storage).stdout)["studies"][0]
    assert (status["status"], sum(status["counts"].values())) == ("running", 1)


def test_drain_leaves_at_once_where_there_is_no_study(storage: str) -> None:
    """A draining worker without work ends with 0."""
    assert hpsearch("worker", "--cpu", "--drain", "--storage", storage).returncode == ExitCode.DONE


@pytest.mark.parametrize(
    ("url", "warned"),
    [
        ("postgresql://me:secret@127.0.0.1:1/x", True),
        ("postgresql://127.0.0.1:1/x?user=me&password=secret", True),
        ("postgresql://me@127.0.0.1:1/x", False),
        ("postgresql://127.0.0.1:1/x", False),
    ],
)
def test_password_on_the_command_line_is_warned_of(url: str, warned: bool) -> None:
    """Other users see a command line: one line says so and names the file, without the password."""
    ended = hpsearch("status", "--storage", url)
    *before, line = ended.stderr.splitlines()
    assert [("HPSEARCH_STORAGE_FILE" in each) for each in before] == [True] * warned
    assert line.startswith("hpsearch: ")
    assert "secret" not in ended.stderr
    assert "HPSEARCH_STORAGE_FILE" not in hpsearch("status", HPSEARCH_STORAGE=url).stderr

"""The command, and what it gives to Slurm's programs; tests/integration/test_slurm.py has the real ones."""

import shutil
import subprocess
from pathlib import Path

import pytest

from hpsearch.cli.main import app
from hpsearch.errors import HpsearchError, NotFoundError, RefusedError, UsageError

SBATCH = '#!/bin/bash\nenv -0 >"$XDG_DATA_HOME/environment"\ncp "${@: -1}" "$XDG_DATA_HOME/script"\necho "12;cluster"\n'


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the command keeps its files; there is no Slurm on the PATH."""
    (tmp_path / "bin").mkdir()
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")
    monkeypatch.setattr(shutil, "which", lambda program: program if (tmp_path / "bin" / program).exists() else None)
    return tmp_path


def launch(*options: str) -> None:
    """Run the command in this process."""
    app(["launch", "slurm", *options], standalone_mode=False)


def list_files(home: Path) -> list[str]:
    """Return what the command has left, but for the URL."""
    return [path.name for path in home.rglob("hpsearch/slurm/*") if path.is_file() and "storage" not in path.name]


def test_script_is_shown_without_slurm(storage: str, home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It is bash, the file that it names has the URL, and nothing is kept besides."""
    launch("--workers", "2", "--storage", storage, "--print", "--option", "qos=a b")
    script = capsys.readouterr().out
    assert subprocess.run(["/bin/bash", "-n"], input=script, text=True, check=False, timeout=60).returncode == 0
    (file,) = home.glob("hpsearch/slurm/storage-*")
    assert f"export HPSEARCH_STORAGE_FILE={file}\n" in script
    assert file.read_text() == storage + "\n"
    assert storage not in script
    assert list_files(home) == []


def test_jobs_environment_has_no_secret_and_overrules_nothing(
    storage: str, home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What sbatch inherits, its jobs do; the script that it gets is kept under the name of the job."""
    sbatch = home / "bin" / "sbatch"
    sbatch.write_text(SBATCH)
    sbatch.chmod(0o755)
    dropped = {
        "HPSEARCH_STORAGE": storage,
        "HPSEARCH_DASHBOARD_PASSWORD": "secret",
        "SBATCH_JOB_NAME": "mine",
        "SBATCH_ARRAY_INX": "0-99",
        "SBATCH_TIMELIMIT": "1",
        "SLURM_CPUS_PER_TASK": "3",
    }
    kept = {"SLURM_CONF": "/etc/slurm.conf", "SBATCH_QOS": "low", "LD_LIBRARY_PATH": "/opt/cuda"}
    for name, value in {**dropped, **kept}.items():
        monkeypatch.setenv(name, value)
    launch("--workers", "2", "--time", "1-0")
    entries = (home / "environment").read_text().split("\0")
    environment = dict(entry.split("=", 1) for entry in entries if entry)
    assert not set(dropped) & set(environment)
    assert {name: environment[name] for name in kept} == kept
    (name,) = list_files(home)
    script = (home / "hpsearch" / "slurm" / name).read_text()
    assert (home / "script").read_text() == script
    assert f"#SBATCH --job-name={name.removesuffix('.sh')}\n" in script
    printed = capsys.readouterr().err
    assert printed.startswith("submitted job 12: 2 workers, on ")
    assert name in printed


@pytest.mark.parametrize(
    ("options", "error", "line"),
    [
        (("--workers", "2"), NotFoundError, "there is no sbatch on the PATH"),
        (("--cancel",), NotFoundError, "there is no scancel on the PATH"),
        ((), UsageError, "say how many --workers to start"),
        (("--workers", "2", "--time", "1"), UsageError, "--time is 1: "),
        (("--workers", "2", "--option", "a\nb"), UsageError, "--option"),
        (("--workers", "2", "--study", "none"), NotFoundError, "there is no study"),
    ],
)
def test_what_cannot_be_submitted_is_a_line(
    storage: str,
    home: Path,
    monkeypatch: pytest.MonkeyPatch,
    options: tuple[str, ...],
    error: type[HpsearchError],
    line: str,
) -> None:
    """And no script is left."""
    monkeypatch.setenv("HPSEARCH_STORAGE", storage)
    with pytest.raises(error) as refusal:
        launch(*options)
    assert str(refusal.value).startswith(line)
    assert "\n" not in str(refusal.value)
    assert list_files(home) == []


def test_embedded_server_is_refused_and_not_started(home: Path) -> None:
    """It serves one host, and a job is on another."""
    with pytest.raises(RefusedError, match="serves this host only"):
        launch("--workers", "2")
    assert [path.name for path in home.iterdir()] == ["bin"]

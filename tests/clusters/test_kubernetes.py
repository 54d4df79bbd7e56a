"""Manifests for Kubernetes: what can be held to without a cluster.

`data/keda-2.20.2.json` has the schemas of KEDA's resources; it says where they are from.
"""

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml
from sqlalchemy import text

from hpsearch.clusters import kubernetes_manifests as manifests
from hpsearch.clusters import worker_commands
from hpsearch.clusters.kubernetes_manifests import KubernetesWorkers, Manifest
from hpsearch.errors import ExitCode, UsageError
from hpsearch.storage import attempts
from hpsearch.storage.database import Database
from hpsearch.storage.studies import Study
from hpsearch.storage.tables import backlog
from hpsearch.storage.workers import WorkerIdentity
from hpsearch.worker.timing import DEFAULT_TIMING
from tests.support.commands import hpsearch, one_line
from tests.support.deployments import list_variables_read, parse
from tests.support.small_study import claim

KEDA = json.loads((Path(__file__).parent / "data" / "keda-2.20.2.json").read_text())
NAME = "it's $(HOME) \\ 'or' 1: \"x\" 🌍"


def ask(**changes: Any) -> KubernetesWorkers:
    """Return workers with everything that is not the default."""
    plain: dict[str, Any] = {
        "image": "registry.example.org:5000/team/hpsearch:1.0@sha256:" + "0" * 64,
        "namespace": "1e3",
        "max_workers": 8,
        "gpus": 1,
        "slots": 2,
        "study_names": (NAME, "-x"),
        "secret": "hpsearch-storage",
    }
    return KubernetesWorkers(**{**plain, **changes})


def make_all(workers: KubernetesWorkers) -> list[Manifest]:
    """Return every manifest there is, as read from the YAML."""
    made = [
        *manifests.make_scaled_job(workers),
        *manifests.make_indexed_job(workers),
        *manifests.make_dashboard(workers),
    ]
    read = list(yaml.safe_load_all(manifests.write_yaml(made)))
    assert read == made
    return made


ALL = {manifest["kind"]: manifest for manifest in make_all(ask())}
JOBS = {"ScaledJob": ALL["ScaledJob"]["spec"]["jobTargetRef"], "Job": ALL["Job"]["spec"]}
PODS = {
    **{kind: job["template"]["spec"] for kind, job in JOBS.items()},
    "Deployment": ALL["Deployment"]["spec"]["template"]["spec"],
}
CONTAINERS = {kind: pod["containers"][0] for kind, pod in PODS.items()}


def validate(manifest: Manifest) -> None:
    """Validate a manifest by the schema of its kind, of KEDA's and of Kubernetes.

    Raises:
        Exception: it has a fault.
    """
    schema = KEDA.get(manifest["kind"])
    if schema is None:
        kubernetes_validate.validate(manifest, "1.33", strict=True)
        return
    jsonschema.Draft202012Validator(schema).validate(manifest["spec"])
    if manifest["kind"] == "ScaledJob":
        job = {"apiVersion": "batch/v1", "kind": "Job", "metadata": {}, "spec": manifest["spec"]["jobTargetRef"]}
        kubernetes_validate.validate(job, "1.33", strict=True)


@pytest.mark.parametrize("changes", [{}, {"gpus": 0, "slots": 1, "study_names": (), "namespace": None}])
def test_manifests_follow_the_schemas(changes: dict[str, Any]) -> None:
    """Kubernetes and KEDA take each manifest by their own schemas, in which nothing is left unknown."""
    made = make_all(ask(**changes))
    assert [manifest["kind"] for manifest in made] == [
        *("TriggerAuthentication", "ScaledJob", "Job", "Deployment", "Service")
    ]
    for manifest in made:
        validate(manifest)
        assert ("namespace" in manifest["metadata"]) == (changes == {})


@pytest.mark.parametrize(
    ("kind", "path"),
    [
        ("TriggerAuthentication", ("secretTargetRef", 0)),
        ("ScaledJob", ()),
        ("ScaledJob", ("triggers", 0)),
        ("ScaledJob", ("jobTargetRef", "podFailurePolicy", "rules", 0)),
        ("Job", ("template", "spec", "containers", 0)),
        ("Deployment", ("template", "spec", "securityContext")),
        ("Service", ("ports", 0)),
    ],
)
def test_schemas_find_a_misspelt_key(kind: str, path: tuple[str | int, ...]) -> None:
    """The schemas that pass our manifests are such as refuse wrong ones."""
    wrong = json.loads(json.dumps(ALL[kind]))
    place = wrong["spec"]
    for key in path:
        place = place[key]
    place["misspelt"] = "x"
    with pytest.raises(Exception, match="misspelt"):
        validate(wrong)


def expand(word: str) -> str:
    """Return what Kubernetes makes of a word of a command: $(X) is a variable, $$ a dollar sign."""
    return re.sub(r"\$(\$|\((\w+)\))", lambda match: "$" if match[1] == "$" else "EXPANDED", word)


@pytest.mark.parametrize("kind", CONTAINERS)
def test_each_command_line_is_one_the_command_takes(kind: str) -> None:
    """What Kubernetes runs parses, with the names of studies as they were given."""
    command = [expand(word) for word in CONTAINERS[kind]["command"]]
    assert parse(command) == CONTAINERS[kind]["name"]
    if kind != "Deployment":
        assert command[1:] == worker_commands.make_arguments(gpus=1, slots=2, study_names=(NAME, "-x"))
        assert {"--drain", "--no-wait", "--unfinished-code"} < set(command)


def test_each_variable_is_one_that_hpsearch_reads() -> None:
    """No variable is misspelt; none has a secret, which files have."""
    named = {variable["name"] for container in CONTAINERS.values() for variable in container["env"]}
    ours = {name.removesuffix("_FILE") for name in named if name.startswith("HPSEARCH_")}
    assert ours == {"HPSEARCH_STORAGE", "HPSEARCH_JOB", "HPSEARCH_DATA_DIR", "HPSEARCH_DASHBOARD_PASSWORD"}
    assert ours <= list_variables_read()
    assert named - {f"{name}{end}" for name in ours for end in ("", "_FILE")} == {
        *("POD_NAME", "POD_NAMESPACE", "HOME", "XDG_CACHE_HOME")
    }
    assert {name for name in named if re.search("STORAGE|PASSWORD", name) and not name.endswith("_FILE")} == set()


@pytest.mark.parametrize("kind", PODS)
def test_pod_has_no_rights_that_it_does_not_need(kind: str) -> None:
    """It is not root, writes to volumes of its own alone, and sees those keys of the secret that it reads."""
    pod, container = PODS[kind], CONTAINERS[kind]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["runAsUser"] == pod["securityContext"]["fsGroup"] == 1000
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    assert pod["automountServiceAccountToken"] is False
    mounted = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    assert list(mounted) == [volume["name"] for volume in pod["volumes"]]
    files = {item["path"] for item in pod["volumes"][0]["secret"]["items"]}
    read = {variable["value"] for variable in container["env"] if variable["name"].endswith("_FILE")}
    assert {f"{mounted['secret']}/{file}" for file in files} == read
    assert all("limits" in each["resources"] for each in pod["containers"])


@pytest.mark.parametrize("kind", JOBS)
def test_pod_that_has_to_go_is_started_again(kind: str) -> None:
    """It has the time to store a checkpoint, and its end is no failure of the Job, nor its success."""
    job, pod = JOBS[kind], PODS[kind]
    assert pod["restartPolicy"] == "Never"
    timing = DEFAULT_TIMING
    assert pod["terminationGracePeriodSeconds"] >= timing.stop + timing.kill + timing.leave + timing.signal
    rules = job["podFailurePolicy"]["rules"]
    assert [rule["action"] for rule in rules] == ["Ignore", "Ignore"]
    assert rules[0]["onExitCodes"]["values"] == [worker_commands.UNFINISHED]
    assert rules[0]["onExitCodes"]["containerName"] == CONTAINERS[kind]["name"]
    assert rules[1]["onPodConditions"] == [{"type": "DisruptionTarget", "status": "True"}]


def test_keda_asks_for_the_backlog() -> None:
    """Its trigger has our query as it is, a worker for each so many trials, and credentials that have a name."""
    spec = ALL["ScaledJob"]["spec"]
    (trigger,) = spec["triggers"]
    assert trigger["metadata"] == {"query": backlog.make_query((NAME, "-x")), "targetQueryValue": "2"}
    assert trigger["authenticationRef"]["name"] == ALL["TriggerAuthentication"]["metadata"]["name"]
    assert (spec["scalingStrategy"]["strategy"], spec["rollout"]["strategy"]) == ("accurate", "gradual")
    assert (spec["minReplicaCount"], spec["maxReplicaCount"]) == (0, 8)


def test_text_that_another_reader_takes_for_a_number_is_quoted() -> None:
    """Kubernetes' reader of YAML takes 1e3 for a number and y for a truth value."""
    for namespace in ("1e3", "y", "n", "0x1f", "1-2", "null", "true", "on"):
        (line, *_) = re.findall(r"^  namespace: .*$", manifests.write_yaml(make_all(ask(namespace=namespace))), re.M)
        assert line.split()[1] in (f'"{namespace}"', f"'{namespace}'")


@pytest.mark.parametrize(
    "change",
    [
        *({"image": image} for image in ("", " ", "-x", "a b", "a\nb", "ä")),
        *({"namespace": name} for name in ("", "A", "a.b", "a_b", "-a", "a-", "a" * 64, "a\n")),
        *({"secret": name} for name in ("", "A", "a..b", ".a", "a/b", "a" * 300)),
        *({"study_names": (name,)} for name in ("", "a\nb", "\udcff")),
    ],
    ids=repr,
)
def test_bad_name_is_one_line(change: dict[str, Any]) -> None:
    """A name that Kubernetes takes not, or no study has, is refused before anything is printed."""
    with pytest.raises(UsageError) as refused:
        ask(**change)
    assert str(refused.value).isprintable()


def test_command_prints_what_kubectl_applies() -> None:
    """It needs no cluster and no database; --no-keda and --dashboard choose what is in it."""
    printed = hpsearch("launch", "kubernetes", "--image", "i", "--dashboard", "--no-keda")
    assert printed.stderr == ""
    assert [each["kind"] for each in yaml.safe_load_all(printed.stdout)] == ["Job", "Deployment", "Service"]
    for options in (["--max-workers", "0"], ["--gpus", "2"], ["--slots", "-1"], ["--namespace", "A"]):
        refused = hpsearch("launch", "kubernetes", "--image", "i", *options)
        assert options[0] in one_line(refused, ExitCode.USAGE)


@pytest.mark.tensorflow
def test_worker_too_many_ends_and_costs_nothing(
    database: Database, started: Callable[..., Study], holder: Callable[[str], WorkerIdentity], tmp_path: Path
) -> None:
    """What Kubernetes runs, with the last trial in another's hands, ends with 0: no attempt and no trial are made."""
    study = started(budget={"trials": 1, "epochs": 1})
    attempt = claim(database, study, holder("holding"))
    assert attempt is not None
    (tmp_path / "storage").write_text(database.url.set(drivername="postgresql").render_as_string(hide_password=False))
    job = manifests.make_indexed_job(ask(gpus=0, slots=1, study_names=("small",)))[0]["spec"]
    _, *arguments = job["template"]["spec"]["containers"][0]["command"]
    excess = subprocess.Popen(
        [sys.executable, "-m", "hpsearch.cli.main", *arguments],
        env={**os.environ, "HPSEARCH_STORAGE_FILE": str(tmp_path / "storage"), "HPSEARCH_JOB": "kubernetes ns/pod"},
        stdin=subprocess.DEVNULL,
    )
    try:
        code = None
        while code is None:
            database.transact(lambda c: attempts.renew(c, attempt))
            with suppress(subprocess.TimeoutExpired):
                code = excess.wait(1)
    finally:
        excess.kill()
    assert code == 0
    query = "select count(*), (select count(*) from hpsearch.attempts), (select count(job) from hpsearch.workers)"
    counts = database.transact(lambda c: c.execute(text(f"{query} from trials")).one())
    assert tuple(counts) == (1, 1, 1)

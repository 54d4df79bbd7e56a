"""What Kubernetes is to run: a KEDA ScaledJob of workers by the backlog, or an indexed Job, and the dashboard."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from hpsearch.clusters import worker_commands
from hpsearch.errors import UsageError
from hpsearch.storage.tables import backlog

Manifest = dict[str, Any]

GRACE_SECONDS = 120
"""Between SIGTERM and SIGKILL: a minute for the batch under way and the checkpoint, and time to store it."""

USER = 1000
"""The image's, by number, since Kubernetes cannot tell that a name is not root's."""

STORAGE_KEY, PASSWORD_KEY = "storage", "dashboard-password"
"""In the secret: the database's URL, and the dashboard's password."""

KEDA_PARAMETERS = ("host", "port", "dbName", "userName", "password", "sslmode")
"""Of KEDA's trigger, in the secret as `backlog-host` and so on.

Not one connection string: a newer KEDA shares connections between triggers by these three, host, user and database, and
so takes all triggers that have a connection string instead for triggers on one database
(https://github.com/kedacore/keda/pull/7248)."""

SECRETS, DATA, TMP = "/run/secrets/hpsearch", "/data", "/tmp"  # noqa: S108 - a volume of the pod's own
"""Paths in a pod."""

_LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_IMAGE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/:@-]*")

_HEADER = """\
# Made by hpsearch launch kubernetes. Edit it and give it to kubectl apply -f, or pipe it there. docs/clusters.md says
# what the secret has to hold, and what happens when a pod has to go. Cores and memory: set what a worker needs.
"""

_KEDA_HEADER = """\
# KEDA starts Jobs and ends none, so no running trial is killed to scale down. The backlog is how many MORE workers can
# hold a trial. From it the strategy "accurate" takes the Jobs that do not run yet; "default" would take those that run
# too, and start none beside them. A worker too many finds nothing and leaves within seconds.
"""


@dataclass(frozen=True)
class KubernetesWorkers:
    """Workers on Kubernetes: at most `max_workers` pods with a GPU or none, each training `slots` trials at once.

    `namespace` None is kubectl's own; `secret` has the keys that docs/clusters.md names.

    Raises:
        UsageError: a name is none that Kubernetes takes.
    """

    image: str
    namespace: str | None
    max_workers: int
    gpus: int
    slots: int
    study_names: tuple[str, ...]
    secret: str

    def __post_init__(self) -> None:
        """Refuse names that Kubernetes would refuse, or that no study can have."""
        if not _IMAGE.fullmatch(self.image):
            raise UsageError(f"--image {self.image!r}: name an image, such as registry.example.org/hpsearch:1")
        if self.namespace is not None and not _LABEL.fullmatch(self.namespace):
            raise UsageError(f"--namespace {self.namespace!r}: {_RULE}, at most 63 characters")
        if len(self.secret) > 253 or not all(map(_LABEL.fullmatch, self.secret.split("."))):
            raise UsageError(f"--secret {self.secret!r}: {_RULE}, parts joined by dots")
        for name in self.study_names:
            if not name or not name.isprintable():
                raise UsageError(f"--study {name!r}: no study has such a name")


_RULE = "Kubernetes takes lower-case letters, digits and inner dashes"


def write_yaml(manifests: Sequence[Manifest]) -> str:
    """Return the manifests as documents of YAML, with what a reader should know before them."""
    has_keda = any(manifest["kind"] == "ScaledJob" for manifest in manifests)
    documents = yaml.dump_all(
        manifests, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=116, explicit_start=True
    )
    return _HEADER + (_KEDA_HEADER if has_keda else "") + documents


class _Dumper(yaml.SafeDumper):
    """Writes YAML that Kubernetes, which follows another version of it, reads as the same."""

    def ignore_aliases(self, data: Any) -> bool:
        """Write a value that occurs twice twice."""
        return True

    def represent_text(self, text: str) -> yaml.ScalarNode:
        """Quote what Go's reader takes for a number (1e3) or a truth value (y), and PyYAML's for a text."""
        style = '"' if len(text) == 1 or text[:1].isdigit() else None
        return self.represent_scalar("tag:yaml.org,2002:str", text, style)


_Dumper.add_representer(str, _Dumper.represent_text)


def make_scaled_job(workers: KubernetesWorkers) -> list[Manifest]:
    """Return the ScaledJob, by which KEDA starts a worker for each trial that no worker holds, and its credentials."""
    trigger = {
        "type": "postgresql",
        "metadata": {"query": backlog.make_query(workers.study_names), "targetQueryValue": str(workers.slots)},
        "authenticationRef": {"name": "hpsearch-backlog"},
    }
    job = {"parallelism": 1, "completions": 1, "backoffLimit": 6, **_describe_job(workers)}
    credentials = [
        {"parameter": parameter, "name": workers.secret, "key": f"backlog-{parameter}"} for parameter in KEDA_PARAMETERS
    ]
    scaled = {
        "pollingInterval": 30,
        "minReplicaCount": 0,
        "maxReplicaCount": workers.max_workers,
        "successfulJobsHistoryLimit": 5,
        "failedJobsHistoryLimit": 5,
        "rollout": {"strategy": "gradual"},  # a change leaves running workers alone
        "scalingStrategy": {"strategy": "accurate"},
        "triggers": [trigger],
        "jobTargetRef": job,
    }
    return [
        _make("keda.sh/v1alpha1", "TriggerAuthentication", "backlog", workers, {"secretTargetRef": credentials}),
        _make("keda.sh/v1alpha1", "ScaledJob", "worker", workers, scaled),
    ]


def make_indexed_job(workers: KubernetesWorkers) -> list[Manifest]:
    """Return a Job of `max_workers` pods, each of which is started again by itself until it has found no work."""
    job = {
        "completionMode": "Indexed",
        "completions": workers.max_workers,
        "parallelism": workers.max_workers,
        "backoffLimitPerIndex": 6,
        "ttlSecondsAfterFinished": 86400,
        **_describe_job(workers),
    }
    return [_make("batch/v1", "Job", "worker", workers, job)]


def make_dashboard(workers: KubernetesWorkers) -> list[Manifest]:
    """Return a Deployment with the dashboard, behind a Service that the cluster alone reaches."""
    everywhere = "0.0.0.0"  # noqa: S104 - of the pod, which the Service is for; it asks for the password
    container = _describe_container(
        workers,
        "dashboard",
        ["hpsearch", "dashboard", "--host", everywhere, "--port", "8080"],
        {"HPSEARCH_DASHBOARD_PASSWORD_FILE": f"{SECRETS}/{PASSWORD_KEY}", "XDG_CACHE_HOME": f"{TMP}/.cache"},
        {},
    )
    container["ports"] = [{"name": "http", "containerPort": 8080}]
    container["readinessProbe"] = {"tcpSocket": {"port": "http"}}  # a request would need the password
    container["resources"] = {"requests": {"cpu": "250m", "memory": "1Gi"}, "limits": {"cpu": "2", "memory": "2Gi"}}
    labels = _label("dashboard")
    pod = _describe_pod(workers, container, (STORAGE_KEY, PASSWORD_KEY), {})
    deployment = {
        "replicas": 1,
        "selector": {"matchLabels": labels},
        "template": {"metadata": {"labels": labels}, "spec": pod},
    }
    service = {"selector": labels, "ports": [{"name": "http", "port": 8080, "targetPort": "http"}]}
    return [
        _make("apps/v1", "Deployment", "dashboard", workers, deployment),
        _make("v1", "Service", "dashboard", workers, service),
    ]


def _make(api: str, kind: str, name: str, workers: KubernetesWorkers, spec: Manifest) -> Manifest:
    namespace = {} if workers.namespace is None else {"namespace": workers.namespace}
    metadata = {"name": f"hpsearch-{name}", **namespace, "labels": _label(name)}
    return {"apiVersion": api, "kind": kind, "metadata": metadata, "spec": spec}


def _label(component: str) -> dict[str, str]:
    return {"app.kubernetes.io/name": "hpsearch", "app.kubernetes.io/component": component}


def _describe_job(workers: KubernetesWorkers) -> Manifest:
    """Return what both kinds of Job have: a pod that left early, or was told to go by the cluster, is no failure."""
    told_to_leave = {"containerName": "worker", "operator": "In", "values": [worker_commands.UNFINISHED]}
    disrupted = {"type": "DisruptionTarget", "status": "True"}
    return {
        "podFailurePolicy": {
            "rules": [
                {"action": "Ignore", "onExitCodes": told_to_leave},
                {"action": "Ignore", "onPodConditions": [disrupted]},
            ]
        },
        "template": {"metadata": {"labels": _label("worker")}, "spec": _describe_worker(workers)},
    }


def _describe_worker(workers: KubernetesWorkers) -> Manifest:
    arguments = worker_commands.make_arguments(gpus=workers.gpus, slots=workers.slots, study_names=workers.study_names)
    variables = {
        "HPSEARCH_JOB": "kubernetes $(POD_NAMESPACE)/$(POD_NAME)",
        "HPSEARCH_DATA_DIR": DATA,
        "XDG_CACHE_HOME": f"{DATA}/cache",
    }
    volumes: Mapping[str, Manifest] = {
        DATA: {"emptyDir": {}},
        "/dev/shm": {"emptyDir": {"medium": "Memory", "sizeLimit": "1Gi"}},  # noqa: S108 - likewise
    }
    container = _describe_container(workers, "worker", ["hpsearch", *arguments], variables, volumes)
    resources = {"cpu": str(2 + 2 * workers.slots), "memory": f"{8 + 8 * workers.slots}Gi"}
    if workers.gpus:
        resources["nvidia.com/gpu"] = str(workers.gpus)
    container["resources"] = {"requests": resources, "limits": resources}
    return {
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": GRACE_SECONDS,
        **_describe_pod(workers, container, (STORAGE_KEY,), volumes),
    }


def _describe_container(
    workers: KubernetesWorkers,
    name: str,
    command: Sequence[str],
    variables: Mapping[str, str],
    volumes: Mapping[str, Manifest],
) -> Manifest:
    """Return a container that writes to its volumes alone; `volumes` are by the path."""
    pod = [
        {"name": f"POD_{field.upper()}", "valueFrom": {"fieldRef": {"fieldPath": f"metadata.{field}"}}}
        for field in ("namespace", "name")
    ]
    named = {"HPSEARCH_STORAGE_FILE": f"{SECRETS}/{STORAGE_KEY}", "HOME": TMP, **variables}
    return {
        "name": name,
        "image": workers.image,
        "command": [word.replace("$", "$$") for word in command],  # $(X) would be replaced by a variable
        "env": [*pod, *({"name": variable, "value": value} for variable, value in named.items())],
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": [
            {"name": "secret", "mountPath": SECRETS, "readOnly": True},
            *({"name": Path(path).name, "mountPath": path} for path in (TMP, *volumes)),
        ],
    }


def _describe_pod(
    workers: KubernetesWorkers, container: Manifest, keys: Sequence[str], volumes: Mapping[str, Manifest]
) -> Manifest:
    secret = {
        "secretName": workers.secret,
        "defaultMode": 0o440,
        "items": [{"key": key, "path": key} for key in keys],
    }
    return {
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,  # they would set variables that begin with HPSEARCH_
        "shareProcessNamespace": True,  # so that the pod's own process 1 reaps what a trainer leaves behind
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": USER,
            "runAsGroup": USER,
            "fsGroup": USER,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [container],
        "volumes": [
            {"name": "secret", "secret": secret},
            {"name": Path(TMP).name, "emptyDir": {}},
            *({"name": Path(path).name, **volume} for path, volume in volumes.items()),
        ],
    }

"""Places outside Postgres where files are kept: a real directory, and a server that speaks S3."""

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from hpsearch.settings import Setting

SECRET = "s3cret-" + uuid.uuid4().hex


@contextmanager
def s3_server() -> Iterator[str]:
    """An S3 server for anybody with any credentials; its URL."""
    from moto.server import ThreadedMotoServer  # takes its time

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    try:
        yield f"http://{host}:{port}"
    finally:
        server.stop()


def use(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have boto3 find the server, as a user would."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", server)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "somebody")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")


def bucket() -> Setting:
    """A place in a new bucket."""
    import boto3

    name = f"bucket-{uuid.uuid4().hex}"
    boto3.client("s3").create_bucket(Bucket=name)
    return Setting(f"s3://{name}/some/prefix", "HPSEARCH_ARTIFACTS")


def content(place: Setting) -> dict[str, bytes]:
    """What lies in a place, whoever put it there: names relative to it."""
    if not place.value.startswith("s3://"):
        root = Path(place.value)
        return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}
    import boto3

    name, _, prefix = place.value.removeprefix("s3://").partition("/")
    client = boto3.client("s3")
    keys = [item["Key"] for item in client.list_objects_v2(Bucket=name, Prefix=prefix).get("Contents", ())]
    return {key[len(prefix) + 1 :]: client.get_object(Bucket=name, Key=key)["Body"].read() for key in keys}

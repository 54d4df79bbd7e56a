"""Starting workers on a cluster."""

from collections.abc import Mapping
from typing import Annotated

import typer

from hpsearch.cli import console
from hpsearch.cli.app import SortedGroup, Storage, app
from hpsearch.cli.context import open_database
from hpsearch.errors import UsageError
from hpsearch.formatting import format_count

launch = typer.Typer(cls=SortedGroup, help="Start workers on a cluster.", no_args_is_help=True, rich_markup_mode=None)
app.add_typer(launch, name="launch")


@launch.command("slurm")
def launch_slurm(
    workers: Annotated[int | None, typer.Option(min=1, metavar="N", help="How many workers, one a job.")] = None,
    gpus: Annotated[int, typer.Option(min=0, max=1, help="GPUs of a worker: 1, or 0 for the CPU.")] = 1,
    slots: Annotated[int, typer.Option(min=1, metavar="K", help="Trials that a worker trains at once.")] = 1,
    study: Annotated[list[str] | None, typer.Option(metavar="NAME", help="Serve only this study; repeatable.")] = None,
    partition: Annotated[str | None, typer.Option(metavar="P", help="Slurm's partition.")] = None,
    time: Annotated[str | None, typer.Option(metavar="4:00:00", help="The time limit of a job.")] = None,
    account: Annotated[str | None, typer.Option(metavar="A", help="Who is charged.")] = None,
    option: Annotated[
        list[str] | None, typer.Option(metavar="X=Y", help="A further option of sbatch; repeatable.")
    ] = None,
    print_: Annotated[bool, typer.Option("--print", help="Print the script, and submit nothing.")] = False,
    cancel: Annotated[bool, typer.Option("--cancel", help="Cancel all that was submitted.")] = False,
    storage: Storage = None,
) -> None:
    """Submit an array of workers to Slurm.

    Each leaves when no study has work. One that is preempted, or whose time is over, is queued again.
    """
    from hpsearch import settings
    from hpsearch.clusters import slurm, slurm_script, storage_file
    from hpsearch.storage import studies

    directory = slurm.find_directory()
    if cancel:
        _print_cancelled(slurm.cancel(directory))
        return
    if workers is None:
        raise UsageError("say how many --workers to start")
    setting = storage_file.require_server(settings.read_storage(storage))
    with open_database(storage) as database:
        database.transact(lambda connection: [studies.find_row(connection, name) for name in study or ()])
    directory.make()
    array = slurm_script.SlurmArray(
        name=slurm.make_name(),
        workers=workers,
        gpus=gpus,
        slots=slots,
        study_names=tuple(study or ()),
        partition=partition,
        time=time,
        account=account,
        options=tuple(option or ()),
        storage_file=storage_file.keep_storage(setting, database, directory.path),
        logs=directory.logs,
        environment=settings.list_job_settings(),
    )
    if print_:
        console.print_script(slurm_script.write_script(array))
        return
    submitted = slurm.submit(array, directory)
    console.print_line(f"submitted job {submitted.job}: {format_count(workers, 'worker')}, on {database.name}")
    console.print_line(f"  its script is {submitted.script}: edited, it goes to sbatch")
    console.print_line(f"  what the workers print is in {directory.path / 'logs'}")
    console.print_line(f"  {console.name_program()} launch slurm --cancel cancels it")


@launch.command("kubernetes")
def launch_kubernetes(
    image: Annotated[str, typer.Option(metavar="I", help="The image, as the cluster pulls it.")],
    namespace: Annotated[str | None, typer.Option(metavar="N", help="The namespace (else kubectl's own).")] = None,
    max_workers: Annotated[
        int, typer.Option(min=1, max=10_000, metavar="N", help="At most so many pods at once.")
    ] = 16,
    gpus: Annotated[int, typer.Option(min=0, max=1, help="GPUs of a worker: 1, or 0 for the CPU.")] = 1,
    slots: Annotated[int, typer.Option(min=1, metavar="K", help="Trials that a worker trains at once.")] = 1,
    study: Annotated[list[str] | None, typer.Option(metavar="NAME", help="Serve only this study; repeatable.")] = None,
    secret: Annotated[str, typer.Option(metavar="NAME", help="The secret of docs/clusters.md.")] = "hpsearch-storage",  # noqa: S107
    no_keda: Annotated[bool, typer.Option("--no-keda", help="A plain Job, for a cluster without KEDA.")] = False,
    dashboard: Annotated[bool, typer.Option("--dashboard", help="The dashboard too.")] = False,
) -> None:
    """Print manifests of workers for kubectl apply -f -.

    KEDA starts as many as there are trials for. No cluster and no database is contacted.
    """
    from hpsearch.clusters import kubernetes_manifests as manifests

    workers = manifests.KubernetesWorkers(image, namespace, max_workers, gpus, slots, tuple(study or ()), secret)
    made = manifests.make_indexed_job(workers) if no_keda else manifests.make_scaled_job(workers)
    if dashboard:
        made += manifests.make_dashboard(workers)
    console.print_script(manifests.write_yaml(made))


def _print_cancelled(elements: Mapping[str, int]) -> None:
    if not elements:
        console.print_line("nothing to cancel: no job that hpsearch launch slurm submitted is queued or runs")
    for job, count in elements.items():
        console.print_line(f"cancelled job {job}: {format_count(count, 'worker')}")

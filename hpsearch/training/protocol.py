"""The messages between supervisor and trainer: frozen dataclasses, pickled, over a pipe.

    supervisor                              trainer
                               Ready   ◀──  Keras is loaded, this is the device
    Train                        ──▶
                     DataProgress ...  ◀──  while images are decoded, at most one a second
                               Loaded  ◀──  the data and the model are there
    GoOn | Stop                  ──▶
                     BatchProgress ...  ◀──  at most one a second
                          EpochReport  ◀──  an epoch, its checkpoint already on disk
    GoOn | Stop                  ──▶
                               Ended   ◀──  (or Released after a Stop)

A Stop may also come unasked, in the middle of an epoch: the trainer finishes its batch. A Notice may come at any time.

    supervisor                              trainer
    Check                        ──▶
                              Network  ◀──  the base configuration's layers
                         Checking ...  ◀──  the check that begins
                          Calling ...  ◀──  code of the user's own is about to run
                          Finding ...  ◀──  its result
                              Checked  ◀──  (or Refused, or CodeFailed)

    PrepareData | Explore        ──▶
           DataProgress | Calling ...  ◀──
              DataPrepared | Explored  ◀──  (or Refused, or CodeFailed)

Imports neither Keras nor Optuna nor pydantic.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from hpsearch.metrics import EpochMetrics
from hpsearch.outcomes import Confusion, TrainingEnd
from hpsearch.spec.branches import Branch
from hpsearch.spec.datasets import DataFacts
from hpsearch.spec.rows import Value
from hpsearch.training.requests import BASE_MODEL, DataRequest, ModelRequest
from hpsearch.training.user.declarations import Explored


@dataclass(frozen=True)
class Train:
    """Train one configuration.

    `hyperparameters` holds every row of the table, of which the study file names those in `chosen`; `code` is a local
    directory with the study's own files, where it has any; `checkpoint` is a local file to resume from; `workdir` a
    directory the trainer may write to; `checkpoint_every` the seconds between two checkpoints on disk.
    """

    hyperparameters: Mapping[str, object]
    data: DataRequest
    seed: int
    epochs: int
    metric: str
    patience: int
    early_stopping: int | None
    workdir: str
    checkpoint: str | None = None
    checkpoint_every: float = 30.0
    model: ModelRequest = BASE_MODEL
    code: str | None = None
    chosen: tuple[str, ...] = ()


@dataclass(frozen=True)
class GoOn:
    """Continue."""


@dataclass(frozen=True)
class Stop:
    """Leave this trial after the current batch; with `checkpoint`, write one of the last finished epoch first."""

    checkpoint: bool = False


@dataclass(frozen=True)
class Ready:
    """The framework is loaded: its backend, and the device it computes on ("GPU" or "CPU")."""

    backend: str
    device: str
    versions: Mapping[str, str]


@dataclass(frozen=True)
class Loaded:
    """The data and the model are in place.

    `epochs` are the ones the checkpoint brought along, `confusion` is the best one's on the validation images;
    `weights` is the model's parameter count, `precision` the dtype policy it trains in, `facts` what the data are.
    """

    data_fingerprint: str
    weights: int
    precision: str
    epochs: tuple[EpochMetrics, ...] = ()
    confusion: Confusion | None = None
    facts: DataFacts | None = None


@dataclass(frozen=True)
class DataProgress:
    """Images decoded, or bytes downloaded, here or by another process that this one waits for."""

    done: int
    total: int
    """0 where it is unknown."""
    is_download: bool = False


@dataclass(frozen=True)
class BatchProgress:
    """Batches done of the epoch under way."""

    epoch: int
    batch: int
    batches: int


@dataclass(frozen=True)
class EpochReport:
    """A finished epoch; `checkpoint` is the local file that was written for it before this was sent, if one was.

    `confusion` is that on the validation images, where no earlier epoch is better.
    """

    metrics: EpochMetrics
    checkpoint: str | None
    confusion: Confusion | None = None


@dataclass(frozen=True)
class Ended:
    """The training is over."""

    end: TrainingEnd


@dataclass(frozen=True)
class Released:
    """The training was stopped; `checkpoint` holds the last finished epoch, if one was asked for and there is one.

    `loaded` is whether the images were there already, `lost` why a checkpoint that was asked for could not be written.
    """

    epoch: int
    checkpoint: str | None
    loaded: bool = True
    lost: str = ""


@dataclass(frozen=True)
class Notice:
    """A line that the user should know, at any time: a warning, or that something is downloaded."""

    text: str


@dataclass(frozen=True)
class Refused:
    """This host cannot train this: a dataset that is missing or broken. One line."""

    detail: str


@dataclass(frozen=True)
class Calling:
    """The user's own code runs until the next message; `what` names it, as `my_model.py:build`."""

    what: str


@dataclass(frozen=True)
class CodeFailed:
    """The user's own code failed: the line and the traceback of a UserCodeError."""

    detail: str
    traceback: str


@dataclass(frozen=True)
class Check:
    """Check the branches of a study whose base configuration is `base`, with every row of the table.

    `axes` are what its branches differ in, the optimizer first; `code` and `chosen` as in `Train`.
    """

    data: DataRequest
    seed: int
    base: Mapping[str, Value]
    branches: tuple[Branch, ...]
    axes: tuple[str, ...]
    model: ModelRequest = BASE_MODEL
    code: str | None = None
    chosen: tuple[str, ...] = ()


@dataclass(frozen=True)
class PrepareData:
    """Have a study's images ready on this host; `code` as in `Train`."""

    data: DataRequest
    code: str | None = None


@dataclass(frozen=True)
class Duplicates:
    """Images with the same pixels in several parts: how many are in a second one, and the names of two."""

    count: int
    first: str
    second: str


@dataclass(frozen=True)
class DataPrepared:
    """A study's images are on this host.

    `size` is that of their pixels in bytes, `place` the directory of the cache that has them, None for a built-in data
    set; `passed_over` is how many files were no images, by the reason.
    """

    facts: DataFacts
    size: int
    place: str | None = None
    passed_over: Mapping[str, int] = field(default_factory=dict)
    duplicates: Duplicates | None = None


@dataclass(frozen=True)
class Layer:
    """A layer of the network: the shape of what it puts out for an image, and how many weights it has."""

    name: str
    shape: tuple[int, ...]
    weights: int


@dataclass(frozen=True)
class Network:
    """The layers of a network, from the image to the head."""

    layers: tuple[Layer, ...]


@dataclass(frozen=True)
class Checking:
    """The check that begins: the `number`th of `count` branches of a check, both counted from 1."""

    check: str
    branch: str
    number: int
    count: int


@dataclass(frozen=True)
class Finding:
    """The result of a check of a branch: figures, named in training/checks/sanity_checks.py, and the fault, if any.

    `note` says why there is neither; `traceback` where in the user's own code a fault is.
    """

    check: str
    branch: str
    figures: Mapping[str, float]
    fault: str | None = None
    note: str | None = None
    traceback: str = ""


@dataclass(frozen=True)
class Checked:
    """All checks are over."""


@dataclass(frozen=True)
class Explore:
    """Find out what a builder of the user's own asks for; `code` as in `Train`."""

    data: DataRequest
    model: ModelRequest
    code: str | None


def complete_request(job: Train | Check) -> ModelRequest:
    """Return which model a job is about, with what the trainer needs to build it."""
    return replace(job.model, code=job.code, chosen=job.chosen)


FromTrainer = (
    Ready
    | DataProgress
    | Loaded
    | BatchProgress
    | EpochReport
    | Ended
    | Released
    | Notice
    | Refused
    | Calling
    | CodeFailed
    | Network
    | Checking
    | Finding
    | Checked
    | DataPrepared
    | Explored
)
Job = Train | Check | PrepareData | Explore
ToTrainer = Job | GoOn | Stop

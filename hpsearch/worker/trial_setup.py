"""What precedes the training of an attempt: its parameters, its checkpoint, and tables that agree with both."""

import traceback
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from hpsearch.sampling import suggest
from hpsearch.sampling.readonly_storage import ReadOnlyStorage
from hpsearch.spec.rows import Value
from hpsearch.storage import attempts, studies
from hpsearch.storage.artifacts.study_artifacts import StudyArtifacts
from hpsearch.storage.attempts import Attempt
from hpsearch.storage.database import Connection
from hpsearch.training.protocol import Loaded, Ready, Train
from hpsearch.training.requests import make_data_request, make_model_request
from hpsearch.worker.db_retry import DatabaseRetry


class RefusedStudyError(Exception):
    """This host cannot serve the study: its files are out of reach, or its data missing or not the other workers'."""


class SamplerError(Exception):
    """The sampler failed; `traceback` is its own."""

    def __init__(self, error: Exception) -> None:
        super().__init__(f"the sampler failed: {error}")
        self.traceback = "".join(traceback.format_exception(error))


@dataclass(frozen=True)
class TrialSetup:
    """Prepares one attempt.

    Every method raises LostError where the attempt was closed, and UnreachableError where the worker was told to stop
    while the database was unreachable.
    """

    attempt: Attempt
    retry: DatabaseRetry
    storage: ReadOnlyStorage
    artifacts: StudyArtifacts
    code: Path | None = None
    """The study's own files on this host, where it has any."""

    def sample(self) -> dict[str, Value]:
        """Sample the trial's parameters and store them; those it has already stay as they are.

        Raises:
            SamplerError: the sampler failed.
        """
        attempt = self.attempt
        self.retry.execute(self.storage.refresh)
        try:
            params, writes = suggest.suggest(attempt.study.spec, self.storage, attempt.trial_id, attempt.trial_number)
        except Exception as error:  # whatever a sampler raises belongs to this trial
            raise SamplerError(error) from error
        if writes.parameters or writes.attributes:
            self.retry.execute(lambda connection: attempts.store_parameters(connection, attempt, writes))
        return params

    def fetch_checkpoint(self, path: Path) -> Path | None:
        """Write the checkpoint to go on from to `path` and return that; None where there is none.

        Raises:
            StoreError: it cannot be read from here.
        """
        self.artifacts.open()
        return path if self.retry.retry(lambda: self.artifacts.fetch(self.attempt, path)) else None

    def make_train_message(
        self, params: Mapping[str, Value], workdir: Path, checkpoint: Path | None, checkpoint_every: float
    ) -> Train:
        """Return the trainer's job, which goes on from the local file `checkpoint`, None being the first epoch.

        Its local files are written to `workdir`, a checkpoint at most every `checkpoint_every` seconds.
        """
        spec = self.attempt.study.spec
        return Train(
            hyperparameters=spec.resolve_params(params),
            data=make_data_request(spec),
            seed=self._seed,
            epochs=spec.budget.epochs,
            metric=spec.study.metric,
            patience=spec.budget.patience,
            early_stopping=spec.budget.early_stopping,
            workdir=str(workdir),
            checkpoint=str(checkpoint) if checkpoint else None,
            checkpoint_every=checkpoint_every,
            model=make_model_request(spec),
            chosen=(*spec.fixed, *(name for name in spec.space if spec.is_active(name, params))),
            code=str(self.code) if self.code else None,
        )

    def compare_data(self, loaded: Loaded) -> str | None:
        """Return how the images here differ from those of the study's first worker; None where they are the same."""
        attempt = self.attempt
        recorded = attempt.study.data_fingerprint
        # Also where no worker had recorded its own when this one claimed, or an older one had no facts to record.
        if recorded != loaded.data_fingerprint or attempt.study.spec.facts is None:
            recorded = self.retry.transact(lambda connection: self._record_data(connection, loaded))
        if recorded == loaded.data_fingerprint:
            return None
        whose = "search, or its evaluation's" if attempt.study.spec.evaluation else "study's"
        model = attempt.study.spec.model
        files = f", or {model.weights}," if model.begins_from_file else ""
        return (
            f"the {attempt.study.spec.data.title} images{files} here differ from those of the {whose} first worker "
            f"({loaded.data_fingerprint[:12]} here, {recorded[:12]} there): give this host the same files"
        )

    def reconcile(self, ready: Ready | None, loaded: Loaded) -> None:
        """Make the tables agree with where the trainer goes on from, and store what the trial is made of."""
        attempt = self.attempt
        if attempt.epochs or loaded.epochs:
            self.retry.transact(lambda connection: self._reconcile_epochs(connection, loaded))
        made_by = {
            "seed": self._seed,
            "data": loaded.data_fingerprint,
            "precision": loaded.precision,
            "backend": ready.backend if ready else "",
            "versions": dict(ready.versions) if ready else {},
        }
        self.retry.execute(lambda connection: attempts.describe(connection, attempt, loaded.weights, made_by))

    @property
    def _seed(self) -> int:
        return suggest.choose_training_seed(self.attempt.study.spec, self.attempt.trial_number)

    def _record_data(self, connection: Connection, loaded: Loaded) -> str:
        attempts.fence(connection, self.attempt)
        return studies.record_data(connection, self.attempt.study.study_id, loaded.data_fingerprint, loaded.facts)

    def _reconcile_epochs(self, connection: Connection, loaded: Loaded) -> None:
        attempts.discard_epochs(connection, self.attempt, len(loaded.epochs))
        attempts.restore_epochs(connection, self.attempt, loaded.epochs, loaded.confusion)

"""What a trainer is told to train for a held trial, and what is kept about how it was made."""

from collections.abc import Mapping
from pathlib import Path

from hpsearch.sampling import suggest
from hpsearch.spec.rows import Value
from hpsearch.storage.attempts import Attempt
from hpsearch.training import protocol


def make_train_message(
    held: Attempt, params: Mapping[str, Value], workdir: Path, checkpoint: Path | None, checkpoint_every: float
) -> protocol.Train:
    """The job of a trial that sampled `params`; `checkpoint` is a local file to go on from."""
    spec = held.study.spec
    data, test = spec.data, spec.evaluation > 0
    return protocol.Train(
        hyperparameters=spec.resolve_params(params),
        data=protocol.DataRequest(data.name, data.train_limit, data.validation, spec.study.seed, test),
        seed=derive_seed(held),
        epochs=spec.budget.epochs,
        metric=spec.study.metric,
        patience=spec.budget.patience,
        early_stopping=spec.budget.early_stopping,
        workdir=str(workdir),
        checkpoint=str(checkpoint) if checkpoint else None,
        checkpoint_every=checkpoint_every,
    )


def describe_making(held: Attempt, ready: protocol.Ready | None, loaded: protocol.Loaded) -> Mapping[str, object]:
    """What a trial follows from beside its hyperparameters."""
    return {
        "seed": derive_seed(held),
        "data": loaded.data_fingerprint,
        "precision": loaded.precision,
        "backend": ready.backend if ready else "",
        "versions": dict(ready.versions) if ready else {},
    }


def derive_seed(held: Attempt) -> int:
    """Of the trial's training."""
    spec = held.study.spec
    return suggest.derive_training_seed(spec.study.seed, held.trial_number, spec.evaluation)

"""Have a study's images decoded on this host before any trial needs them."""

from collections.abc import Callable

from hpsearch.errors import NotFoundError
from hpsearch.spec.study_spec import StudySpec
from hpsearch.training.protocol import DataPrepared, DataProgress, PrepareData
from hpsearch.training.requests import make_data_request
from hpsearch.worker.local.trainers import start_trainer
from hpsearch.worker.study_code import unpack_locally
from hpsearch.worker.trainer_process import TrainerDiedError


def prepare(spec: StudySpec, show: Callable[[DataProgress], None]) -> DataPrepared:
    """Return what is in the images of a study; those of the user's own are in the cache afterwards.

    Args:
        spec: the study.
        show: called with how many images are decoded.

    Raises:
        NotFoundError: the images are not on this host, or something in them cannot be used.
        UserCodeError: the user's own function that loads them failed.
    """
    with unpack_locally(spec.code) as code, start_trainer(None) as trainer:  # decoding takes no GPU
        try:
            trainer.send(PrepareData(make_data_request(spec), str(code) if code else None))
            for message in trainer.receive(DataPrepared):
                if isinstance(message, DataProgress):
                    show(message)
        except TrainerDiedError as error:
            raise NotFoundError(f"the images of {spec.data.title} could not be prepared: {error}") from None
    assert isinstance(message, DataPrepared)
    return message

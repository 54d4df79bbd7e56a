"""What every check of a branch is given: the images, the study's model, and a way to train it on some images."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import keras
import numpy as np
import numpy.typing as npt

from hpsearch.spec.models import BuiltInModel, list_models
from hpsearch.spec.training_rows import TRAINING_ROWS
from hpsearch.training.epoch import EpochFigures, OnBatch, run_epoch, score
from hpsearch.training.images.parts import ImagePart, Images, Labels
from hpsearch.training.loading import ImageArrays
from hpsearch.training.preparation import CompiledModel, build_stock, compile_model
from hpsearch.training.protocol import Check, complete_request
from hpsearch.training.requests import ModelRequest
from hpsearch.training.user_models.fitting import KerasFit

Figures = dict[str, float]

PREDICTED = 64
"""Images that a model predicts at a time."""


class CheckFault(Exception):  # noqa: N818 - what a check looks for is not an error of the program
    """What is wrong with a branch, and the figures that show it."""

    def __init__(self, message: str, figures: Figures | None = None) -> None:
        super().__init__(message)
        self.figures = figures or {}


class CheckSkip(Exception):  # noqa: N818 - likewise
    """Why a check says nothing of a branch."""


@dataclass(frozen=True, eq=False)
class CheckContext:
    """The images, the model and the seed of every check."""

    dataset: ImageArrays
    job: Check

    @property
    def seed(self) -> int:
        """Of all that is random."""
        return self.job.seed

    @property
    def request(self) -> ModelRequest:
        """Which model."""
        return complete_request(self.job)

    @property
    def is_own(self) -> bool:
        """Whether it is a model of the user's own, of whose layers nothing is known."""
        return self.request.build is not None

    @property
    def facts(self) -> BuiltInModel | None:
        """Those about a built-in model; None where it is the user's own."""
        return list_models()[self.request.name] if self.request.name else None

    @property
    def shape(self) -> tuple[int, int, int]:
        """Height, width and channels of an image."""
        height, width, channels = self.dataset.x_train.shape[1:]
        return height, width, channels

    def simplify(self, values: Mapping[str, Any], **others: Any) -> dict[str, Any]:
        """Return `values` with nothing random and no penalty, so that the cross-entropy is left, and with `others`.

        What is random in a user's own model stays.
        """
        rows = (*TRAINING_ROWS, *(self.facts.rows if self.facts else ()))
        plain = {row.name: row.plain for row in rows if row.plain is not None}
        return {**values, **{name: value for name, value in plain.items() if name in values}, **others}

    def build(self, values: Mapping[str, Any]) -> keras.Model:
        """Return the model of Keras's own layers and the user's, not compiled."""
        return build_stock(self.request, values, self.dataset, self.seed)

    def compile(self, values: Mapping[str, Any]) -> CompiledModel:
        """Return the model as a trial trains it."""
        return compile_model(self.request, values, self.dataset, self.seed)

    def train(self, values: Mapping[str, Any]) -> "BranchTraining":
        """Return the training of the model on all training images, as in a trial."""
        return BranchTraining(self.compile(values), self.dataset.x_train, *self.dataset.inputs.training, self.seed)

    def train_on_few(self, values: Mapping[str, Any], images: int) -> "BranchTraining":
        """Return the training of the model on the first `images` training images."""
        part, labels = self.dataset.x_train, self.dataset.y_train[:images]
        few = replace(part, indices=part.indices[:images])
        return BranchTraining(self.compile(values), few, few[:], labels, self.seed)


class BranchTraining:
    """A compiled model that is trained on some images, by our steps or by Keras's `fit`, as in a trial.

    `images` and `labels` are what the steps read, `part` are the same images for `fit`.
    """

    def __init__(self, compiled: CompiledModel, part: ImagePart, images: Any, labels: Any, seed: int) -> None:
        self.model, self.steps = compiled.model, compiled.steps
        self.images, self.labels, self._epoch = images, labels, 0
        user_model = compiled.user_model
        is_fitted = user_model is not None and user_model.is_fitted
        self.fitting = KerasFit(user_model, part, np.asarray(labels), seed) if user_model and is_fitted else None

    def run(
        self, order: npt.NDArray[np.int64], batch_size: int, on_batch: OnBatch = lambda *_: True
    ) -> EpochFigures | None:
        """Train on the images in `order`; return means while the weights changed, None where `on_batch` ended it."""
        if self.fitting:
            self._epoch += 1
            return self.fitting.train_epoch(self._epoch, order, batch_size, on_batch)
        return run_epoch(self.steps, self.images, self.labels, order, batch_size, on_batch)

    def run_whole(self, order: npt.NDArray[np.int64], batch_size: int) -> EpochFigures:
        """Train on the images in `order`; return means while the weights changed."""
        figures = self.run(order, batch_size)
        assert figures is not None
        return figures

    def validate(self) -> EpochFigures:
        """Return the figures of its predictions for the images, where nothing is random."""
        starts = range(0, len(self.labels), PREDICTED)
        parts = [self.steps.predict(self.images[start : start + PREDICTED]) for start in starts]
        return score(np.concatenate(parts), self.labels)


def compute_loss(network: keras.Model, images: Images, labels: Labels) -> float:
    """Return the cross-entropy in training mode, where batch norm takes the images' own mean and variance."""
    return float(keras.losses.SparseCategoricalCrossentropy()(labels, network(images, training=True)))

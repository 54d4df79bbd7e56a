"""What a training step minimizes: the cross-entropy, with what the hyperparameters change about labels and weights."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
from sklearn.utils.class_weight import compute_class_weight

from hpsearch.training.recipe.augmentation import list_mixing_layers, seed_layers


@dataclass(frozen=True, eq=False)
class Objective:
    """The loss of a batch. By default the mean cross-entropy.

    `class_weights` is the weight of an image by its class; `mixing` are layers that mix images, and their labels among
    `classes` classes.
    """

    label_smoothing: float = 0.0
    class_weights: tuple[float, ...] = ()
    mixing: tuple[keras.layers.Layer, ...] = ()
    classes: int = 0

    @classmethod
    def read(cls, hyperparameters: Mapping[str, Any], labels: npt.NDArray[np.int64], classes: int) -> "Objective":
        """Pick the objective from every row of the table, and the training images' labels (n,) among `classes`.

        Raises:
            KeyError: a hyperparameter is missing.
        """
        weights: tuple[float, ...] = ()
        if hyperparameters["class_weight"] == "balanced":
            weights = tuple(compute_class_weight("balanced", classes=np.unique(labels), y=labels).tolist())
        return cls(hyperparameters["label_smoothing"], weights, list_mixing_layers(hyperparameters), classes)

    @property
    def variables(self) -> list[keras.Variable]:
        """The state of its random numbers."""
        return [variable for layer in self.mixing for variable in layer.variables]

    def start_epoch(self, seed: int, epoch: int) -> None:
        """Start its random numbers anew: those of an epoch follow from (seed, epoch)."""
        seed_layers(self.mixing, seed, epoch)

    def mix(self, images: Any, labels: Any) -> tuple[Any, Any]:
        """Return a batch of images (n, height, width, channels) and labels (n,), mixed where mixing is on.

        Returns:
            The images, and where they are mixed each class's share of a label (n, classes), else the labels (n,).
        """
        if not self.mixing:
            return images, labels
        batch = {
            "images": keras.ops.cast(images, "float32"),
            "labels": keras.ops.one_hot(labels, self.classes, dtype="float32"),
        }
        for layer in self.mixing:
            batch = layer(batch, training=True)
        return batch["images"], batch["labels"]

    def choose_classes(self, labels: Any) -> Any:
        """Return the class (n,) of each label that `mix` returned: the one with the largest share."""
        return keras.ops.argmax(labels, axis=1) if self.mixing else labels

    def measure(self, labels: Any, probabilities: Any) -> tuple[Any, Any]:
        """Return the loss of a batch, and each image's cross-entropy (n,) without smoothing and weights.

        Args:
            labels: from `mix`.
            probabilities: (n, classes).
        """
        if self.mixing:
            entropies = keras.losses.categorical_crossentropy(labels, probabilities)
        else:
            entropies = keras.losses.sparse_categorical_crossentropy(labels, probabilities)
        losses = entropies
        if self.label_smoothing:
            targets = labels if self.mixing else keras.ops.one_hot(labels, self.classes)
            losses = keras.losses.categorical_crossentropy(targets, probabilities, label_smoothing=self.label_smoothing)
        if self.class_weights:
            weights = keras.ops.convert_to_tensor(self.class_weights, dtype=losses.dtype)
            losses = losses * keras.ops.take(weights, self.choose_classes(labels))
        return keras.ops.mean(losses), entropies


CROSS_ENTROPY = Objective()

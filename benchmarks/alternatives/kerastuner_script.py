"""What a user would write with KerasTuner: its Hyperband, which is the stronger of its tuners here.

    python kerastuner_script.py IMAGES.npz SEED EPOCHS BATCH_SIZE DIRECTORY

A line of JSON an epoch goes to stdout for the benchmark; it searches until it is killed. KerasTuner makes a trial anew
when it lets one train on, from the weights of the first: here both have the first one's number.
"""

import json
import sys

import keras
import keras_tuner
import numpy as np
from network import SPACE, build

file, seed, epochs, batch_size, directory = sys.argv[1], *map(int, sys.argv[2:5]), sys.argv[5]
images = np.load(file)
x_train, x_val = (images[name].astype("float32") / 255 for name in ("x_train", "x_val"))
y_train, y_val = images["y_train"], images["y_val"]


class Hyperband(keras_tuner.Hyperband):
    def on_epoch_end(self, trial, model, epoch, logs=None):
        figures = {name: float(logs[name]) for name in ("val_accuracy", "val_loss")}
        first = trial.hyperparameters.values.get("tuner/trial_id", trial.trial_id)
        print(json.dumps({"trial": int(first), "epoch": epoch + 1, **figures}), flush=True)
        super().on_epoch_end(trial, model, epoch, logs)


def network(choose):
    return build(
        learning_rate=choose.Float("learning_rate", *SPACE["learning_rate"], sampling="log"),
        optimizer=choose.Choice("optimizer", SPACE["optimizer"]),
        activation=choose.Choice("activation", SPACE["activation"]),
        dropout=choose.Float("dropout", *SPACE["dropout"]),
        batch_norm=choose.Boolean("batch_norm"),
    )


keras.utils.set_random_seed(seed)
tuner = Hyperband(
    network,
    objective="val_accuracy",
    max_epochs=epochs,
    factor=3,
    hyperband_iterations=1000,
    seed=seed,
    directory=directory,
    project_name="search",
)
tuner.search(x_train, y_train, batch_size=batch_size, validation_data=(x_val, y_val), verbose=0)

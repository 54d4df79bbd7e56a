"""What a user would write with Optuna: its default sampler, its median pruner, plain `fit`.

    python optuna_script.py IMAGES.npz SEED EPOCHS BATCH_SIZE TRIALS

A line of JSON an epoch goes to stdout for the benchmark; `SPACE` and the network are in network.py.
"""

import json
import sys

import keras
import numpy as np
import optuna
from network import SPACE, build

file, seed, epochs, batch_size, trials = sys.argv[1], *map(int, sys.argv[2:])
images = np.load(file)
x_train, x_val = (images[name].astype("float32") / 255 for name in ("x_train", "x_val"))
y_train, y_val = images["y_train"], images["y_val"]


class Pruning(keras.callbacks.Callback):
    def __init__(self, trial):
        super().__init__()
        self.trial = trial

    def on_epoch_end(self, epoch, logs):
        figures = {name: float(logs[name]) for name in ("val_accuracy", "val_loss")}
        print(json.dumps({"trial": self.trial.number, "epoch": epoch + 1, **figures}), flush=True)
        self.trial.report(logs["val_accuracy"], epoch)
        if self.trial.should_prune():
            raise optuna.TrialPruned


def objective(trial):
    keras.backend.clear_session()
    model = build(
        learning_rate=trial.suggest_float("learning_rate", *SPACE["learning_rate"], log=True),
        optimizer=trial.suggest_categorical("optimizer", SPACE["optimizer"]),
        activation=trial.suggest_categorical("activation", SPACE["activation"]),
        dropout=trial.suggest_float("dropout", *SPACE["dropout"]),
        batch_norm=trial.suggest_categorical("batch_norm", SPACE["batch_norm"]),
    )
    validation = (x_val, y_val)
    options = {"batch_size": batch_size, "epochs": epochs, "validation_data": validation, "verbose": 0}
    history = model.fit(x_train, y_train, callbacks=[Pruning(trial)], **options)
    return max(history.history["val_accuracy"])


keras.utils.set_random_seed(seed)
sampler = optuna.samplers.TPESampler(seed=seed)  # Optuna's default, but for the seed
study = optuna.create_study(direction="maximize", sampler=sampler, pruner=optuna.pruners.MedianPruner())
study.optimize(objective, n_trials=trials)

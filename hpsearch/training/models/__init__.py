"""The models, one file each with its own hyperparameters."""

"""The study file: sections, search space, hyperparameters and their validation."""

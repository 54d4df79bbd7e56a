"""The hyperparameters that work with any model, by what they belong to."""

from hpsearch.spec.training_rows import images, loop, optimizer

TRAINING_ROWS = (*optimizer.ROWS, *loop.ROWS, *images.ROWS)
"""Rows with `group` "optimizer", "loss", "loop" and "input"."""

"""Checkpoints, models, predictions and pictures: their rows, their stores, and their removal."""

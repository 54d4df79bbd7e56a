"""Optuna's samplers and pruners over a storage that only reads."""

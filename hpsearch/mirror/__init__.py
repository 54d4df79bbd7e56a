"""Mirroring a study into an experiment tracker, from the database alone."""

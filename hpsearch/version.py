"""The version, in a module of its own: the trainer process reads it without importing the API."""

__version__ = "0.1.0"

"""The version; by itself, so that the trainer process can say it without what else the package offers."""

__version__ = "0.1.0"

"""The user's own code in the trainer process, the only one that runs it."""

"""The user's own Python files: what of them travels with a study, and what they need."""

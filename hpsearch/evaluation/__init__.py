"""Test-set evaluation of the best configurations, export of models, and the model card."""

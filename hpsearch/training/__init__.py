"""What runs in the trainer process: datasets, the model, the training loop. Nothing of the service."""

"""How a model is trained: optimizer, learning rate, loss and augmentation, made of hyperparameters."""

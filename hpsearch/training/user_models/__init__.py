"""Models of the user's own: what their builder gets, what is made of its model, and how Keras's `fit` trains it."""

"""What the trials of a study say: effects, importance, their statistics, and the sentences about them."""

"""The files that a trainer writes and somebody reads later: checkpoints and predictions."""

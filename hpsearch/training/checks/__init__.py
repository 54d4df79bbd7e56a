"""What `hpsearch check` runs in the trainer: sanity checks of a study, a gradient check, the time of an epoch."""

"""The networks of `keras.applications`: their weights on this host, and building them anew for each trial."""

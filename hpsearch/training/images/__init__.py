"""A study's images, from files to parts; only streaming.py, on their way to the device, imports Keras."""

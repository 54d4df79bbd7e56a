"""A study's images before they reach the device; nothing here imports Keras or a framework."""

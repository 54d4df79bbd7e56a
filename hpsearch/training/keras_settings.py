"""Keras with the settings it is shipped with: no file and no variable of the host's decides what is trained.

Keras reads `keras.json` in KERAS_HOME, by default ~/.keras or, where HOME cannot be written, /tmp/.keras, when it is
imported, and some of what it reads cannot be set back later: a backend, or a value that it refuses.
"""

from contextlib import suppress

from hpsearch import settings

NOWHERE = "/dev/null/keras"
"""A directory that nobody can make: Keras finds no file in it, and writes none."""


def import_keras() -> None:
    """Import Keras for the first time in this process. What it downloads goes where it would without this."""
    home = settings.find_keras_home()
    with settings.change_keras_home(NOWHERE):
        import keras
        from keras.src.backend import config
    with suppress(OSError):  # as Keras does: it downloads to a shared place where its own does not exist
        home.mkdir(parents=True, exist_ok=True)
    config._KERAS_DIR = str(home)
    keras.config.set_floatx("float32")
    keras.config.set_epsilon(1e-7)
    keras.config.set_image_data_format("channels_last")

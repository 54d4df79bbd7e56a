"""Make TensorFlow SavedModels of `.keras` files: `python -m hpsearch.training.files.saved_model`.

`SOURCE TARGET SAFE ROOT...`: of each file in the directory SOURCE one at TARGET/NAME/1. With SAFE 0, Python code in the
files is run; the user's own modules are found in ROOTs. Why one cannot be made is the last line of stderr.
"""

import sys
from importlib import import_module
from pathlib import Path

from hpsearch.training.user.custom_objects import import_custom_objects, list_custom_objects


def main(source: str, target: str, safe: str, *roots: str) -> None:
    """Make them; exit with 1 and a line where that fails."""
    # Only now, because Keras takes seconds to import, and TensorFlow writes to stderr meanwhile.
    from hpsearch.training import keras_settings

    keras_settings.import_keras()
    import keras

    from hpsearch.training.user.code import describe_error

    sys.path[:0] = roots
    for file in sorted(Path(source).glob("*.keras")):
        try:
            for part in list_custom_objects(file):
                import_module(part.module)
            objects = import_custom_objects(file)
            model = keras.models.load_model(file, objects, compile=False, safe_mode=safe == "1")
            model.export(Path(target, file.stem, "1"), format="tf_saved_model", verbose=False)
        except Exception as error:  # noqa: BLE001 the user's own code may raise anything
            sys.exit(f"{file.name}: {describe_error(error)}")


if __name__ == "__main__":
    main(*sys.argv[1:])

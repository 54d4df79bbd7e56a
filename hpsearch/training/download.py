"""`python -m hpsearch.training.download`: download CIFAR-10 where this host does not have it.

Exits with 0 where it is there now, else with a line on stderr that says why not. Progress goes to stdout.
"""

import sys

from hpsearch.errors import ExitCode, HpsearchError
from hpsearch.training import keras_settings
from hpsearch.training.datasets import cifar10


def main() -> int:
    """Download, and return the exit code."""
    try:
        if cifar10.find_source() is None:
            keras_settings.import_keras()  # it is what downloads
        cifar10.fetch()
    except HpsearchError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    return ExitCode.DONE


if __name__ == "__main__":
    sys.exit(main())

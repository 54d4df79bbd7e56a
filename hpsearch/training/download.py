"""`python -m hpsearch.training.download`: see that CIFAR-10 is on this host, downloading it where it is not.

Exits with 0 where it is there now, else with a line on stderr that says why not. Progress goes to stdout.
"""

import sys

from hpsearch.errors import ExitCode, HpsearchError
from hpsearch.training.datasets import cifar10


def main() -> int:
    """The exit code."""
    try:
        cifar10.fetch()
    except HpsearchError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    return ExitCode.DONE


if __name__ == "__main__":
    sys.exit(main())

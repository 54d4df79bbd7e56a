"""Take all the GPU memory that a trainer process gets, print how many bytes that was, and hold them until killed.

python benchmarks/gpu_hold.py MEMORY_OF_THE_GPU
"""

import sys
from typing import Any

import keras
import numpy as np

from hpsearch.training import backends, serve

PIECE = 2**28
"""Bytes of one array."""


def main() -> None:
    """Take and hold."""
    most = int(sys.argv[1]) * 0.7  # where there is no limit, the other one shall have something too
    assert serve.describe_process().device == "GPU"
    arrays: list[Any] = []
    try:
        while len(arrays) * PIECE < most:
            array = keras.ops.full((PIECE // 4,), len(arrays), "float32")
            assert float(np.asarray(array[-1])) == len(arrays)
            arrays.append(array)
    except Exception as error:
        if not backends.is_out_of_memory(error):
            raise
    print(len(arrays) * PIECE, flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main()

"""scikit-learn's digits as image files in folders of their classes."""

from pathlib import Path

import numpy as np
from PIL import Image
from sklearn.datasets import load_digits


def write_digits(directory: Path, count: int, size: int = 8, ending: str = "png") -> None:
    """Write the first `count` digits as grey files `CLASS/NUMBER.png` of that size."""
    digits = load_digits()
    for number, (pixels, label) in enumerate(zip(digits.images[:count], digits.target[:count], strict=True)):
        folder = directory / f"digit-{label}"
        folder.mkdir(parents=True, exist_ok=True)
        grey = Image.fromarray(np.rint(pixels * (255 / 16)).astype(np.uint8))
        grey.resize((size, size)).save(folder / f"{number:04}.{ending}")

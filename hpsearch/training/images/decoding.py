"""An image file's bytes as RGB pixels of 0..255.

The first frame of an animation; turned as its EXIF says; what is transparent lies on white, as viewers show it; of 16
bits the upper 8; grey, palette and CMYK become RGB, without regard to a colour profile, as in Keras. A PNG has
checksums; in the other formats damage shows only where a file is cut off or cannot be parsed.
"""

import io

import numpy as np
import numpy.typing as npt
import PIL
from PIL import Image, ImageOps, UnidentifiedImageError

VERSION = f"1 with Pillow {PIL.__version__}"
"""Changes where the same file may give other pixels."""

FORMATS = ("BMP", "GIF", "JPEG", "PNG", "WEBP")
"""By content; a file's name is not looked at. Pillow calls a JPEG of several frames MPO."""

JPEG_START_OF_SCAN, JPEG_END = 0xDA, b"\xff\xd9"


class DecodingError(Exception):
    """A file is not an image that can be read whole; the text says why, as `is empty`."""


def decode(content: bytes) -> Image.Image:
    """Return an image file as an RGB image.

    Raises:
        DecodingError: it is not one of the formats, is damaged, or has more pixels than Pillow deems safe.
    """
    if not content:
        raise DecodingError("is empty")
    try:
        with Image.open(io.BytesIO(content), formats=FORMATS) as image:
            image.verify()  # the checksums of a PNG, which loading it skips
        with Image.open(io.BytesIO(content), formats=FORMATS) as image:
            image.load()
            if image.format in ("JPEG", "MPO") and not _has_jpeg_end(content):
                raise DecodingError("is cut off")
            return _convert(ImageOps.exif_transpose(image))
    except (DecodingError, MemoryError):
        raise
    except UnidentifiedImageError:
        raise DecodingError("is no bmp, gif, jpeg, png or webp image") from None
    except Exception as error:  # noqa: BLE001 a damaged file can raise almost anything in Pillow
        raise DecodingError(f"cannot be read: {' '.join(str(error).split()) or type(error).__name__}") from None


def resize(image: Image.Image, size: tuple[int, int], how: str) -> Image.Image:
    """Return `image` in another size, antialiased.

    Args:
        image: L or RGB.
        size: height and width.
        how: "crop" cuts the largest centred part of the wanted shape, as keras.utils.load_img does with
            keep_aspect_ratio; "pad" puts black on both sides; "stretch" changes the aspect ratio.
    """
    height, width = size
    if image.size == (width, height):
        return image
    if how == "stretch":
        return image.resize((width, height), Image.Resampling.BILINEAR)
    if how == "crop":
        crop_width = max(1, min(image.width, image.height * width // height))
        crop_height = max(1, min(image.height, image.width * height // width))
        left, top = (image.width - crop_width) // 2, (image.height - crop_height) // 2
        box = (left, top, left + crop_width, top + crop_height)
        return image.resize((width, height), Image.Resampling.BILINEAR, box=box)
    scale = min(width / image.width, height / image.height)
    inner = max(1, round(image.width * scale)), max(1, round(image.height * scale))
    padded = Image.new(image.mode, (width, height))
    padded.paste(image.resize(inner, Image.Resampling.BILINEAR), ((width - inner[0]) // 2, (height - inner[1]) // 2))
    return padded


def _convert(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I;16"):  # a grey PNG of 16 bits; conversion would clip it at 255
        deep: npt.NDArray[np.uint16] = np.asarray(image)
        grey = Image.fromarray((deep >> 8).astype(np.uint8))
        transparent = image.info.get("transparency")
        if transparent is not None:
            grey.paste(255, mask=Image.fromarray(deep == transparent))
        return grey.convert("RGB")
    if image.has_transparency_data:
        white = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(white, image.convert("RGBA")).convert("RGB")
    return image.convert("RGB")


def _has_jpeg_end(content: bytes) -> bool:
    """Return whether the end-of-image marker follows the first scan; Pillow makes up the rest of some files without."""
    position = 2
    while position + 4 <= len(content) and content[position] == 0xFF:
        marker = content[position + 1]
        if marker == 0xFF:  # fill bytes may precede a marker
            position += 1
            continue
        if marker == JPEG_START_OF_SCAN:
            return content.find(JPEG_END, position) >= 0
        position += 2 + int.from_bytes(content[position + 2 : position + 4], "big")
    return True  # not laid out as expected, and decoded all the same

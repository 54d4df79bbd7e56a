"""Image files as RGB pixels: every kind that is read, exactly where the format keeps pixels, and every damage."""

import io
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from hpsearch.errors import LINE_LENGTH, NotFoundError
from hpsearch.training.images.decoding import DecodingError, decode, resize
from hpsearch.training.images.listings import refuse
from tests.support.image_files import Pixels, draw, make_folders, read_path, save

RGB = draw(1, 16, 24)
GREY = RGB[..., 0]


def encode(image: Image.Image, kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def decode_array(content: bytes) -> Pixels:
    image = decode(content)
    assert image.mode == "RGB"
    return np.asarray(image)


@pytest.mark.parametrize("kind", ["bmp", "png", "webp"])
def test_lossless_formats_give_their_pixels(kind: str) -> None:
    """Not one bit is changed on the way."""
    content = encode(Image.fromarray(RGB), kind, **({"lossless": True} if kind == "webp" else {}))
    assert np.array_equal(decode_array(content), RGB)


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"subsampling": 2}], ids=str)
def test_jpeg_gives_nearly_its_pixels(options: dict[str, Any]) -> None:
    """Of a smooth image every pixel is within what JPEG's best quality loses."""
    rows, columns = np.mgrid[:16, :24]
    smooth = np.stack([rows * 2, columns * 2, rows + columns], axis=-1).astype(np.uint8)
    pixels = decode_array(encode(Image.fromarray(smooth), "jpeg", quality=100, **options))
    assert np.abs(pixels.astype(int) - smooth).max() <= 6


def test_grey_becomes_three_equal_channels() -> None:
    """Grey of 8 bits, and of one."""
    three = np.repeat(GREY[..., np.newaxis], 3, axis=2)
    assert np.array_equal(decode_array(encode(Image.fromarray(GREY), "png")), three)
    black_and_white = decode_array(encode(Image.fromarray(GREY > 127), "png"))
    assert np.array_equal(black_and_white, np.where(three > 127, 255, 0))


def test_sixteen_bits_are_scaled() -> None:
    """Of 16 bits the upper 8 are kept: nothing is clipped, as TensorFlow decodes them."""
    deep = (GREY.astype(np.uint16) << 8) + 77
    content = encode(Image.fromarray(deep), "png")
    assert Image.open(io.BytesIO(content)).mode.startswith("I;16")
    assert np.array_equal(decode_array(content), np.repeat(GREY[..., np.newaxis], 3, axis=2))


def write_png(depth: int, color: int, rows: bytes, width: int, height: int, extra: bytes = b"") -> bytes:
    """Return a PNG of a kind that Pillow does not write; `rows` have a filter byte each."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, 0)
    parts = chunk(b"IHDR", header), extra, chunk(b"IDAT", zlib.compress(rows)), chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def test_sixteen_bit_colours_are_scaled() -> None:
    """Three channels of 16 bits, likewise."""
    deep = (RGB.astype(">u2") << 8) + 200
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in deep)
    assert np.array_equal(decode_array(write_png(16, 2, rows, 24, 16)), RGB)


def test_transparent_grey_of_sixteen_bits_lies_on_white() -> None:
    """One grey value is declared transparent."""
    transparency = struct.pack(">I", 2) + b"tRNS\x12\x34" + struct.pack(">I", zlib.crc32(b"tRNS\x12\x34"))
    rows = b"\0\x12\x34\x12\x35"
    pixels = decode_array(write_png(16, 0, rows, 2, 1, transparency))
    assert pixels.tolist() == [[[255, 255, 255], [0x12, 0x12, 0x12]]]


def test_palette_gives_its_colours() -> None:
    """A PNG and a GIF with a palette; a GIF's first frame."""
    image = Image.fromarray((GREY % 4).astype(np.uint8), "P")
    palette = [10, 20, 30, 200, 100, 50, 0, 255, 0, 7, 7, 7]
    image.putpalette(palette)
    expected = np.array(palette, np.uint8).reshape(4, 3)[GREY % 4]
    other = Image.new("P", image.size)
    for content in (
        encode(image, "png"),
        encode(image, "gif"),
        encode(image, "gif", save_all=True, append_images=[other]),
    ):
        assert np.array_equal(decode_array(content), expected)


@pytest.mark.parametrize("kind", ["png", "webp"])
def test_transparent_pixels_lie_on_white(kind: str) -> None:
    """Full, half and no opacity; the colour hidden under a transparent pixel does not show."""
    rgba = np.array([[[10, 20, 30, 255], [10, 20, 30, 0], [0, 100, 200, 128]]], np.uint8)
    options = {"lossless": True, "exact": True} if kind == "webp" else {}
    pixels = decode_array(encode(Image.fromarray(rgba), kind, **options))
    assert pixels[0, :2].tolist() == [[10, 20, 30], [255, 255, 255]]
    half = rgba[0, 2, :3] * (128 / 255) + 255 * (127 / 255)
    assert np.abs(pixels[0, 2] - half).max() <= 1


def test_transparent_grey_and_palette_lie_on_white() -> None:
    """A grey image with alpha, and a palette's transparent entry in a PNG and a GIF."""
    grey = Image.fromarray(np.array([[[10, 255], [10, 0]]], np.uint8), "LA")
    assert decode_array(encode(grey, "png"))[0].tolist() == [[10, 10, 10], [255, 255, 255]]
    palette = Image.fromarray(np.array([[0, 1]], np.uint8), "P")
    palette.putpalette([1, 2, 3, 4, 5, 6])
    for kind in ("png", "gif"):
        assert decode_array(encode(palette, kind, transparency=1))[0].tolist() == [[1, 2, 3], [255, 255, 255]]


def test_cmyk_becomes_rgb() -> None:
    """Full cyan is no red; no ink is white."""
    cmyk = np.zeros((16, 16, 4), np.uint8)
    cmyk[:, 8:, 0] = 255
    pixels = decode_array(encode(Image.fromarray(cmyk, "CMYK"), "jpeg", quality=100)).astype(int)
    assert np.abs(pixels[:, :8] - 255).max() <= 3
    assert np.abs(pixels[:, 8:] - [0, 255, 255]).max() <= 3


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["jpeg", "png", "webp"])
def test_image_is_turned_as_exif_says(kind: str, orientation: int) -> None:
    """Each of the eight orientations, of what a camera wrote sideways or mirrored."""
    turns: dict[int, Callable[[Pixels], Pixels]] = {
        1: lambda image: image,
        2: np.fliplr,
        3: lambda image: np.rot90(image, 2),
        4: np.flipud,
        5: lambda image: image.transpose(1, 0, 2),
        6: lambda image: np.rot90(image, -1),
        7: lambda image: np.rot90(image, 2).transpose(1, 0, 2),
        8: np.rot90,
    }
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"quality": 100, "subsampling": 0} if kind == "jpeg" else {"lossless": True} if kind == "webp" else {}
    pixels = decode_array(encode(Image.fromarray(RGB), kind, exif=exif.tobytes(), **options))
    expected = turns[orientation](RGB)
    assert pixels.shape == expected.shape
    assert np.abs(pixels.astype(int) - expected).max() <= (12 if kind == "jpeg" else 0)


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
def test_damaged_exif_is_no_orientation() -> None:
    """The pixels are whole; what cannot be read beside them is left out."""
    content = encode(Image.fromarray(RGB), "jpeg", exif=b"Exif\0\0MM\0*\0\0\xff\xff" + b"\xff" * 30)
    assert decode_array(content).shape == RGB.shape


def cut(content: bytes) -> bytes:
    return content[: len(content) // 2]


def flip_bit(content: bytes) -> bytes:
    position = content.index(b"IDAT") + 20
    return content[:position] + bytes([content[position] ^ 1]) + content[position + 1 :]


PNG, JPEG = encode(Image.fromarray(RGB), "png"), encode(Image.fromarray(draw(1, 64, 64)), "jpeg")
DAMAGES = {
    "no byte": (b"", "is empty"),
    "zeros": (bytes(1000), "is no bmp, gif, jpeg, png or webp image"),
    "text": (b"<html>log in first</html>", "is no bmp, gif, jpeg, png or webp image"),
    "another format": (encode(Image.fromarray(RGB), "tiff"), "is no bmp, gif, jpeg, png or webp image"),
    "header alone": (PNG[:30], "is no bmp|cannot be read"),
    "png cut off": (cut(PNG), "cannot be read"),
    "png without its end": (PNG[:-13], "cannot be read"),
    "png with a flipped bit": (flip_bit(PNG), "cannot be read: broken PNG file"),
    "jpeg cut off": (cut(JPEG), "cannot be read: image file is truncated"),
    "jpeg filled up with zeros": (cut(JPEG) + bytes(len(JPEG) // 2), "is cut off"),
    "bmp cut off": (cut(encode(Image.fromarray(RGB), "bmp")), "cannot be read"),
    "gif cut off": (cut(encode(Image.fromarray(GREY), "gif")), "cannot be read|is no bmp"),
    "webp cut off": (cut(encode(Image.fromarray(RGB), "webp")), "cannot be read|is no bmp"),
    "bomb": (write_png(8, 0, b"", 30000, 30000), "cannot be read: .*exceeds limit of 178956970 pixels"),
    "no pixel": (write_png(8, 0, b"", 0, 0), "cannot be read|is no bmp"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_is_said_in_words(damage: str) -> None:
    """A file that is not a whole image gives a reason, never half an image."""
    content, message = DAMAGES[damage]
    with pytest.raises(DecodingError, match=message) as caught:
        decode(content)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", ["png", "jpeg", "gif", "bmp", "webp"])
def test_image_cut_off_anywhere_is_refused(kind: str) -> None:
    """Whatever the length that is left, no rows are made up."""
    content = encode(Image.fromarray(draw(2, 20, 20)), kind)
    for length in range(0, len(content) - 2, 7):
        with pytest.raises(DecodingError):
            decode(content[:length])


def test_first_bad_files_are_named(tmp_path: Path, cache: Path) -> None:
    """As many as a line holds by name and reason, the others by their number; none is left out and trained without."""
    root = make_folders(tmp_path / "data", each=6)
    for number in range(6):
        (root / "a" / f"{number}.png").write_bytes(b"")
    (root / "b" / "0.png").write_bytes(cut(PNG))
    with pytest.raises(NotFoundError) as caught:
        read_path(root)
    message = str(caught.value)
    named = [number for number in range(6) if f"a/{number}.png is empty" in message]
    assert 1 <= len(named) <= 5
    assert named == list(range(len(named)))
    assert message.endswith(f"; and {7 - len(named)} more")
    assert len(message) <= LINE_LENGTH
    assert "\n" not in message
    assert [path.suffix for path in cache.iterdir()] == [".lock"]


def test_at_most_five_files_are_named() -> None:
    """With short paths the line would hold more."""
    with pytest.raises(NotFoundError, match=r"^0.png; 1.png; 2.png; 3.png; 4.png; and 3 more$"):
        refuse([f"{number}.png" for number in range(8)])


def test_two_sizes_are_named(tmp_path: Path) -> None:
    """Without a size to bring them to, two files and their sizes are named."""
    root = make_folders(tmp_path / "data")
    save(root / "b" / "1.png", draw(9, 5, 7))
    with pytest.raises(NotFoundError, match=r"a/0.png has 8×8 pixels .* and .*b/1.png 5×7: set data.image_size"):
        read_path(root)
    assert read_path(root, image_size=(4, 6)).images.shape == (6, 4, 6, 3)


@pytest.mark.tensorflow
@pytest.mark.parametrize("size", [(16, 24), (8, 8), (30, 7), (40, 90)])
def test_crop_is_that_of_keras(tmp_path: Path, size: tuple[int, int]) -> None:
    """The pixels of keras.utils.load_img with keep_aspect_ratio."""
    import keras

    path = save(tmp_path / "image.png", RGB)
    theirs = keras.utils.load_img(path, target_size=size, interpolation="bilinear", keep_aspect_ratio=True)
    assert np.array_equal(np.asarray(resize(decode(path.read_bytes()), size, "crop")), np.asarray(theirs))


def test_pad_adds_black_on_both_sides() -> None:
    """All of the image is kept in its aspect ratio, in the middle; an odd line is on the far side."""
    white = Image.new("RGB", (20, 10), "white")
    padded = np.asarray(resize(white, (11, 10), "pad"))
    assert padded.shape == (11, 10, 3)
    assert padded[:, 0, 0].tolist() == [0, 0, 0, 255, 255, 255, 255, 255, 0, 0, 0]
    assert np.asarray(resize(Image.new("RGB", (1, 1000), "white"), (10, 10), "pad")).sum() == 10 * 3 * 255


def test_stretch_uses_all_of_the_image() -> None:
    """Two halves stay halves, whatever the aspect ratio becomes; a smaller image averages the pixels."""
    halves = np.zeros((10, 40, 3), np.uint8)
    halves[:, 20:] = 255
    stretched = np.asarray(resize(Image.fromarray(halves), (30, 10), "stretch"))
    assert (stretched[:, :4].max(), stretched[:, 6:].min()) == (0, 255)
    checks = np.indices((64, 64)).sum(axis=0) % 2 * 255
    average = np.asarray(resize(Image.fromarray(checks.astype(np.uint8)), (4, 4), "stretch"))
    assert np.abs(average.astype(int) - 127).max() <= 2

"""Draw the golden pictures and compute what a Custom Vision export of generation 2.2 makes of them.

The pre-processing below is written down from the container's documented order of operations, step by step, with
Pillow's own functions, and on purpose not with the gateway's code. Run it again only to add pictures::

    python tests/data/vision/make_golden.py

It writes ``pictures/*`` and ``golden.npz``: for each picture the BGR tensor of a 32-pixel model as uint8 (every value
is a whole number: the model gets them as float32), and for some that of a 224-pixel model.
"""

import io
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageOps

HERE = Path(__file__).resolve().parent
ORIENTATION = 0x0112


def container_pipeline(data: bytes, side: int) -> npt.NDArray[np.float32]:
    """Return what the exported container feeds to its model, shape (1, side, side, 3), float32."""
    # 1. Apply the EXIF orientation.
    image = ImageOps.exif_transpose(Image.open(io.BytesIO(data)))
    # 2. Resize so that the shorter side is the model's; the longer is round(aspect x side); bilinear, antialiased.
    width, height = image.size
    if width > height:  # noqa: SIM108  # as the container has it, to be read beside it
        new_size = (round(width / height * side), side)
    else:
        new_size = (side, round(height / width * side))
    image = image.resize(new_size, Image.Resampling.BILINEAR)
    # 3. Crop the centre, integer division for the offsets.
    left = (new_size[0] - side) // 2
    top = (new_size[1] - side) // 2
    image = image.crop((left, top, left + side, top + side))
    # 4. Only then convert to RGB.
    image = image.convert("RGB")
    # 5. float32, 0..255, BGR.
    return np.array(image, dtype=np.float32)[np.newaxis, :, :, (2, 1, 0)]


def draw(size: tuple[int, int]) -> Image.Image:
    """A picture that tells its corners, its colour channels and its edges apart."""
    width, height = size
    across, down = np.meshgrid(np.linspace(0, 255, width), np.linspace(0, 255, height))
    image = Image.fromarray(np.stack([across, down, 255 - (across + down) / 2], axis=-1).astype(np.uint8))
    pen = ImageDraw.Draw(image)
    pen.ellipse((width * 0.1, height * 0.15, width * 0.45, height * 0.6), fill=(250, 210, 20), outline=(60, 20, 0))
    pen.rectangle((width * 0.6, height * 0.5, width * 0.95, height * 0.8), fill=(20, 40, 200))
    pen.line((0, height, width, 0), fill=(255, 255, 255), width=2)
    pen.polygon([(0, 0), (width * 0.2, 0), (0, height * 0.2)], fill=(200, 0, 0))
    return image


def encoded(image: Image.Image, file_format: str, **options: Any) -> bytes:
    body = io.BytesIO()
    image.save(body, file_format, **options)
    return body.getvalue()


def exif(orientation: int) -> Image.Exif:
    tags = Image.Exif()
    tags[ORIENTATION] = orientation
    return tags


def with_alpha(image: Image.Image) -> Image.Image:
    alpha = Image.linear_gradient("L").resize(image.size)
    image = image.copy()
    image.putalpha(alpha)
    return image


def pictures() -> dict[str, bytes]:
    landscape, portrait = draw((97, 61)), draw((53, 90))
    made = {
        "landscape.png": encoded(landscape, "PNG"),
        "portrait.png": encoded(portrait, "PNG"),
        "square.png": encoded(draw((64, 64)), "PNG"),
        "exact_size.png": encoded(draw((32, 32)), "PNG"),
        "tiny.png": encoded(draw((3, 2)), "PNG"),
        "one_pixel.png": encoded(Image.new("RGB", (1, 1), (10, 200, 90)), "PNG"),
        "thin.png": encoded(draw((200, 7)), "PNG"),
        "grey.png": encoded(landscape.convert("L"), "PNG"),
        "one_bit.png": encoded(landscape.convert("1"), "PNG"),
        "palette.png": encoded(landscape.quantize(16), "PNG"),
        "palette_transparent.png": encoded(landscape.quantize(16), "PNG", transparency=bytes(range(0, 160, 10))),
        "rgba.png": encoded(with_alpha(landscape), "PNG"),
        "grey_alpha.png": encoded(with_alpha(landscape).convert("LA"), "PNG"),
        "sixteen_bit_grey.png": encoded(Image.fromarray(np.asarray(landscape.convert("L"), np.uint16) * 3), "PNG"),
        "palette.gif": encoded(landscape.quantize(32), "GIF"),
        "animated.gif": encoded(
            landscape.quantize(32),
            "GIF",
            save_all=True,
            append_images=[landscape.transpose(Image.Transpose.FLIP_LEFT_RIGHT).quantize(32)],
        ),
        "landscape.bmp": encoded(draw((49, 31)), "BMP"),
        "palette.bmp": encoded(landscape.quantize(16), "BMP"),
        "one_bit.bmp": encoded(landscape.convert("1"), "BMP"),
        "lossless.webp": encoded(landscape, "WEBP", lossless=True),
        "rgba.webp": encoded(with_alpha(landscape), "WEBP", lossless=True, exact=True),
        "turned.webp": encoded(landscape, "WEBP", lossless=True, exif=exif(6)),
        "turned.png": encoded(landscape, "PNG", exif=exif(8)),
        "grey.jpg": encoded(landscape.convert("L"), "JPEG", quality=90),
        "progressive.jpg": encoded(landscape, "JPEG", quality=90, progressive=True),
        "cmyk.jpg": encoded(landscape.convert("CMYK"), "JPEG", quality=90),
        "subsampled.jpg": encoded(draw((120, 90)), "JPEG", quality=85, subsampling="4:2:0"),
    }
    for orientation in range(1, 9):
        made[f"orientation_{orientation}.jpg"] = encoded(landscape, "JPEG", quality=90, exif=exif(orientation))
    return made


def main() -> None:
    folder = HERE / "pictures"
    folder.mkdir(exist_ok=True)
    golden = {}
    for name, data in pictures().items():
        (folder / name).write_bytes(data)
        sides = (32, 224) if name == "landscape.png" else (32,)
        for side in sides:
            tensor = container_pipeline(data, side)
            assert (tensor == tensor.astype(np.uint8)).all()
            golden[f"{name}@{side}"] = tensor.astype(np.uint8)
    np.savez_compressed(HERE / "golden.npz", **golden)


if __name__ == "__main__":
    main()

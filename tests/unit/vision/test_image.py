"""Decoding and pre-processing."""

import io
import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gateway.errors import ImageDamaged, NotAnImage, Rejected, TooManyPixels
from gateway.vision.image import check_pixels, decode, preprocess, read_header, weighed_pixels
from gateway.vision.preprocessing import ColourOrder, Preprocessing, Quantisation, Resize, custom_vision
from tests.unit.vision.models import picture

PICTURES = Path(__file__).resolve().parents[2] / "data" / "vision" / "pictures"


def decoded(data: bytes) -> Image.Image:
    return decode(read_header(data))


@pytest.mark.parametrize("name", ["landscape.png", "subsampled.jpg", "landscape.bmp", "palette.gif", "lossless.webp"])
def test_a_picture_cut_short_is_refused_with_a_reason(name: str) -> None:
    data = (PICTURES / name).read_bytes()
    with pytest.raises(ImageDamaged) as refused:
        decoded(data[: len(data) * 3 // 4])
    assert "cut short" in refused.value.detail or "truncated" in refused.value.detail
    assert refused.value.cure


def test_a_png_with_broken_data_is_refused() -> None:
    data = bytearray((PICTURES / "landscape.png").read_bytes())
    at = data.index(b"IDAT") + 40
    data[at : at + 40] = bytes(40)
    with pytest.raises(ImageDamaged, match="png"):
        decoded(bytes(data))


def test_a_png_that_lies_about_its_size_is_refused() -> None:
    data = bytearray((PICTURES / "landscape.png").read_bytes())
    data[16:20] = (4000).to_bytes(4, "big")
    with pytest.raises(ImageDamaged):
        decoded(bytes(data))


@pytest.mark.parametrize("file_format", ["TIFF", "ICO", "PPM", "TGA", "ICNS", "PCX", "SGI"])
def test_other_formats_are_never_tried(file_format: str) -> None:
    with pytest.raises(NotAnImage):
        decoded(picture("red", size=(32, 32), file_format=file_format))


@pytest.mark.parametrize("path", sorted(PICTURES.iterdir()), ids=lambda path: path.name)
def test_no_warning_of_the_library_leaks(path: Path) -> None:
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        for spec in (custom_vision(32), Preprocessing(width=32, height=32)):
            preprocess(decoded(path.read_bytes()), spec)
    assert [str(warning.message) for warning in seen] == []


def test_damaged_exif_is_no_reason_to_refuse_and_does_not_warn() -> None:
    tags = Image.Exif()
    tags[0x0112] = 6
    tags[0x011A] = 72.0
    data = picture("red", file_format="JPEG", exif=tags)
    at = data.index(b"Exif") + 20
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        image = decoded(data[:at] + b"\xff" * 8 + data[at + 8 :])
    assert image.mode == "RGB"


def test_the_cap_on_pixels_is_inclusive() -> None:
    header = read_header(picture("red", size=(40, 30)))
    check_pixels(header, pixels_max=1200)
    with pytest.raises(TooManyPixels, match=r"40 x 30 = 1,200 pixels, at most 1,199"):
        check_pixels(header, pixels_max=1199)


def test_no_cap_reaches_where_the_library_would_warn() -> None:
    data = bytearray(picture("red"))
    data[16:24] = (10_000).to_bytes(4, "big") * 2
    with pytest.raises(TooManyPixels):
        check_pixels(read_header(bytes(data)), pixels_max=10**12)


@pytest.mark.parametrize(
    ("options", "weight"),
    [
        ({"file_format": "JPEG"}, 1),
        ({"file_format": "JPEG", "progressive": True}, 1.5),
        ({"file_format": "PNG"}, 1),
        ({"file_format": "WEBP"}, 2),
    ],
)
def test_formats_that_need_more_memory_weigh_more(options: dict[str, object], weight: float) -> None:
    header = read_header(picture("red", size=(40, 30), **options))  # type: ignore[arg-type]
    assert weighed_pixels(header) == 1200 * weight
    check_pixels(header, pixels_max=int(1200 * weight))
    with pytest.raises(TooManyPixels):
        check_pixels(header, pixels_max=int(1200 * weight) - 1)


def test_decoder_is_not_called_for_too_many_pixels(monkeypatch: pytest.MonkeyPatch) -> None:
    def must_not_open(*_given: object, **_named: object) -> None:
        raise AssertionError("decoded before the check")

    monkeypatch.setattr(Image, "open", must_not_open)
    header = read_header(picture("red", size=(100, 100)))
    with pytest.raises(TooManyPixels):
        check_pixels(header, pixels_max=9_999)


# --- pre-processing -----------------------------------------------------------------------------------


def halves(size: tuple[int, int] = (80, 40)) -> Image.Image:
    """Left half red, right half blue."""
    image = Image.new("RGB", size, (255, 0, 0))
    image.paste((0, 0, 255), (size[0] // 2, 0, size[0], size[1]))
    return image


def test_stretch_keeps_both_ends() -> None:
    tensor = preprocess(halves(), Preprocessing(width=8, height=8))
    assert tensor.shape == (1, 8, 8, 3)
    assert tensor[0, 4, 0].tolist() == [255, 0, 0]
    assert tensor[0, 4, 7].tolist() == [0, 0, 255]


def test_crop_cuts_the_ends_off() -> None:
    image = halves()
    image.paste((0, 255, 0), (0, 0, 20, 40))  # outside of the centre square
    tensor = preprocess(image, Preprocessing(width=8, height=8, resize=Resize.CROP))
    assert tensor[0, 4, 1].tolist() == [255, 0, 0]


def test_letterbox_pads_with_black_and_keeps_the_aspect() -> None:
    tensor = preprocess(halves(), Preprocessing(width=8, height=8, resize=Resize.LETTERBOX))
    assert tensor[0, 0].max() == 0
    assert tensor[0, 7].max() == 0
    assert tensor[0, 3, 0].tolist() == [255, 0, 0]


def test_oblong_inputs_keep_width_and_height_apart() -> None:
    for resize in Resize:
        tensor = preprocess(halves(), Preprocessing(width=12, height=6, resize=resize))
        assert tensor.shape == (1, 6, 12, 3)


def test_mean_and_std_apply_to_each_channel_in_the_models_order() -> None:
    spec = Preprocessing(width=4, height=4, colour_order=ColourOrder.BGR, mean=(10.0, 20.0, 30.0), std=(2.0, 4.0, 5.0))
    tensor = preprocess(Image.new("RGB", (4, 4), (30, 20, 12)), spec)
    assert tensor.dtype == np.float32
    assert tensor[0, 0, 0].tolist() == [1.0, 0.0, 0.0]


def test_grey_models_get_one_channel() -> None:
    tensor = preprocess(
        Image.new("RGB", (4, 4), (90, 90, 90)), Preprocessing(width=4, height=4, colour_order=ColourOrder.GREY)
    )
    assert tensor.shape == (1, 4, 4, 1)
    assert tensor.max() == tensor.min() == 90


@pytest.mark.parametrize(("dtype", "expected"), [("uint8", [0, 128, 255]), ("int8", [-128, 0, 127])])
def test_full_range_integers_take_the_pixels(dtype: str, expected: list[int]) -> None:
    spec = Preprocessing(width=2, height=2, dtype=dtype, full_range=True)
    tensor = preprocess(Image.new("RGB", (2, 2), (0, 128, 255)), spec)
    assert tensor.dtype == np.dtype(dtype)
    assert tensor[0, 0, 0].tolist() == expected


def test_integers_with_mean_and_std_are_quantised_and_clipped() -> None:
    spec = Preprocessing(
        width=2,
        height=2,
        dtype="int8",
        mean=(127.5,) * 3,
        std=(127.5,) * 3,
        quantisation=Quantisation(scale=0.0078125, zero_point=0),
    )
    tensor = preprocess(Image.new("RGB", (2, 2), (0, 255, 128)), spec)
    assert tensor[0, 0, 0].tolist() == [-128, 127, 1]


def test_sixteen_bit_grey_keeps_its_range_outside_the_custom_vision_preset() -> None:
    body = io.BytesIO()
    Image.fromarray(np.full((8, 8), 0x8000, np.uint16)).save(body, "PNG")
    image = decoded(body.getvalue())
    assert preprocess(image, Preprocessing(width=4, height=4)).max() == 128
    assert preprocess(image, custom_vision(4)).max() == 255, "the container clips, and we equal it"


@pytest.mark.parametrize("size", [(1, 60_000), (60_000, 1), (3, 9_000)])
def test_extreme_aspects_stay_small(size: tuple[int, int]) -> None:
    image = Image.linear_gradient("L").resize(size)
    tensor = preprocess(image, custom_vision(32))
    assert tensor.shape == (1, 32, 32, 3)


def test_extreme_aspects_are_within_one_level_of_the_exact_way() -> None:
    image = halves((33 * 8, 8))
    image.paste((0, 255, 0), (33 * 4 - 2, 2, 33 * 4 + 1, 6))
    exact = image.resize((33 * 16, 16), Image.Resampling.BILINEAR).crop((256, 0, 272, 16))
    tensor = preprocess(image, custom_vision(16))
    assert np.abs(tensor[0, :, :, ::-1] - np.asarray(exact, np.float32)).max() <= 1


def test_every_refusal_says_what_to_do() -> None:
    for data in (b"", b"hello", picture("red")[:60], b"\xff\xd8\xff\xd9"):
        with pytest.raises(Rejected) as refused:
            decoded(data)
        assert refused.value.detail
        assert refused.value.cure

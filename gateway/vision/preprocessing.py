"""What a model wants of a picture: a value that a bundle says and image.py carries out. Pure."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np
import numpy.typing as npt


class ColourOrder(StrEnum):
    """The order of the last axis."""

    RGB = "rgb"
    BGR = "bgr"
    GREY = "grey"


class Resize(StrEnum):
    """How a picture of another shape becomes the model's."""

    STRETCH = "stretch"  # the aspect is lost, nothing is cut off
    CROP = "crop"  # keeps the aspect, cuts the longer side's ends off
    LETTERBOX = "letterbox"  # keeps the aspect and everything, pads with black


@dataclass(frozen=True, slots=True, kw_only=True)
class Quantisation:
    """``real = (stored - zero_point) * scale``, as TFLite says it. A scale of 0 means not quantised."""

    scale: float = 0.0
    zero_point: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Preprocessing:
    """Pixels 0..255 become ``(pixel - mean) / std`` per channel, quantised if ``dtype`` is an integer.

    ``full_range`` (integers only) says that the stored range is the pixels' range, whatever scale and zero point are:
    uint8 takes 0..255, int8 takes the same minus 128. ``convert_first`` is False only for the Custom Vision preset.
    """

    width: int
    height: int
    colour_order: ColourOrder = ColourOrder.RGB
    resize: Resize = Resize.STRETCH
    mean: tuple[float, ...] = (0.0, 0.0, 0.0)
    std: tuple[float, ...] = (1.0, 1.0, 1.0)
    dtype: str = "float32"
    quantisation: Quantisation = Quantisation()
    full_range: bool = False
    convert_first: bool = True

    @property
    def channels(self) -> int:
        """3, or 1 for grey."""
        return 1 if self.colour_order is ColourOrder.GREY else 3

    @property
    def takes_pixels_as_they_are(self) -> bool:
        """Whether a cast is all there is to do."""
        if self.dtype == "uint8":
            return self.full_range
        return self.dtype == "float32" and not any(self.mean) and all(std == 1 for std in self.std)

    def value_table(self) -> npt.NDArray[Any]:
        """Return what each pixel value becomes, shape (channels, 256), of ``dtype``."""
        table: npt.NDArray[Any]
        pixels = np.arange(256, dtype=np.float64)
        if self.full_range:
            row = pixels - (128 if self.dtype == "int8" else 0)
            table = np.tile(row, (self.channels, 1)).astype(self.dtype)
            return table
        mean, std = np.array(self.mean[: self.channels]), np.array(self.std[: self.channels])
        real = (pixels[np.newaxis, :] - mean[:, np.newaxis]) / std[:, np.newaxis]
        if self.dtype == "float32":
            table = real.astype(np.float32)
            return table
        bounds = np.iinfo(self.dtype)
        stored = np.round(real / self.quantisation.scale) + self.quantisation.zero_point
        table = stored.clip(bounds.min, bounds.max).astype(self.dtype)
        return table

    def describe(self) -> str:
        """Return one line for people."""
        scaling = "0..255 as they are" if self.takes_pixels_as_they_are or self.full_range else self._scaling()
        order = "resized, then converted" if not self.convert_first else "converted, then resized"
        return f"{self.width}x{self.height} {self.colour_order} {self.dtype}, {self.resize}, {scaling}, {order}"

    def _scaling(self) -> str:
        def short(values: tuple[float, ...]) -> str:
            return f"{values[0]:g}" if len(set(values)) == 1 else "/".join(f"{value:g}" for value in values)

        return f"(pixel - {short(self.mean)}) / {short(self.std)}"


def custom_vision(size: int) -> Preprocessing:
    """Return the preset of Custom Vision exports of generation 2.2, for a square input of ``size`` pixels.

    Source: the exported container, whose tensors it equals bit for bit. metadata_properties.json in an export
    contradicts the container's code and is ignored.
    """
    return Preprocessing(width=size, height=size, colour_order=ColourOrder.BGR, resize=Resize.CROP, convert_first=False)

"""bundle.toml: what a model's maker says of it. Pure.

All keys are optional::

    name = "fruit"
    preset = "custom-vision"      # instead of size, colour_order, mean, std and resize
    size = 224                    # or [width, height]; needed only if the model leaves its input size open
    colour_order = "rgb"          # rgb | bgr | grey
    mean = 127.5                  # or one per channel, in the model's channel order; (pixel 0..255 - mean) / std
    std = 127.5
    resize = "stretch"            # stretch | crop | letterbox
    softmax = false               # true if the model ends in logits
    background_class = false      # true if class 0 is "background" and labels.txt does not list it
"""

import tomllib
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from gateway.errors import BundleInvalid
from gateway.vision.preprocessing import ColourOrder, Resize

FILE_NAME = "bundle.toml"

_Side = Annotated[int, Field(ge=1, le=8192)]
_Values = float | tuple[float, ...]


class BundleToml(BaseModel):
    """The parsed file; None means not said."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    name: Annotated[str, Field(max_length=100)] = ""
    preset: Literal["custom-vision"] | None = None
    size: _Side | tuple[_Side, _Side] | None = None
    colour_order: ColourOrder | None = None
    mean: _Values | None = None
    std: _Values | None = None
    resize: Resize | None = None
    softmax: bool = False
    background_class: bool = False

    @property
    def says_pixels(self) -> bool:
        """Whether it says how a picture becomes the input tensor, beyond the size."""
        return any(value is not None for value in (self.preset, self.colour_order, self.mean, self.std, self.resize))

    def values(self, which: Literal["mean", "std"], channels: int) -> tuple[float, ...]:
        """Return ``mean`` or ``std`` per channel; 0 or 1 when not said. Raises BundleInvalid for another count."""
        given = self.mean if which == "mean" else self.std
        if given is None:
            return (0.0 if which == "mean" else 1.0,) * channels
        if isinstance(given, float):
            return (given,) * channels
        if len(given) != channels:
            raise BundleInvalid(f"{FILE_NAME}: {which} has {len(given)} values and the model {channels} channels")
        return given

    @model_validator(mode="after")
    def _check_relations(self) -> Self:
        others = [key for key in ("colour_order", "mean", "std", "resize") if getattr(self, key) is not None]
        if self.preset is not None and others:
            raise ValueError(f"preset says everything: remove {', '.join(others)}, or the preset")
        stds = (self.std,) if isinstance(self.std, float) else self.std or ()
        if not all(std > 0 for std in stds):
            raise ValueError("std must be above 0")
        return self


def parse_bundle_toml(text: bytes) -> BundleToml:
    """Return the parsed file. Raises BundleInvalid with every mistake."""
    try:
        return BundleToml.model_validate(tomllib.loads(text.decode()))
    except UnicodeDecodeError as error:
        raise BundleInvalid(f"{FILE_NAME} is not UTF-8: save it as plain text") from error
    except tomllib.TOMLDecodeError as error:
        raise BundleInvalid(f"{FILE_NAME} is not valid TOML: {error}") from error
    except ValidationError as error:
        mistakes = [f"{'.'.join(map(str, line['loc'])) or 'file'}: {line['msg']}" for line in error.errors()]
        known = ", ".join(BundleToml.model_fields)
        raise BundleInvalid(f"{FILE_NAME}: {'; '.join(dict.fromkeys(mistakes))}. Known keys: {known}.") from error

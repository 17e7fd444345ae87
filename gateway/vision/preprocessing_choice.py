"""Which pre-processing a model gets, who said so and why. Pure.

An explicit setting wins, then bundle.toml, then TFLite metadata, then what the export's layout tells. A float32 input
without any of these is refused: a wrong guess would look like a bad model for ever.
"""

from enum import StrEnum
from typing import Literal

from gateway.errors import BundleInvalid
from gateway.vision.bundle_toml import BundleToml
from gateway.vision.model_files import LABELS_FILE, ModelFiles
from gateway.vision.preprocessing import ColourOrder, Preprocessing, Resize, custom_vision
from gateway.vision.runtime import TensorSpec
from gateway.vision.tflite_file import TfliteMetadata

Override = Literal["auto", "custom-vision", "metadata", "bundle"]


class Source(StrEnum):
    """Who said how pictures are prepared."""

    BUNDLE_TOML = "bundle.toml"
    SETTING = "model.preprocessing"
    METADATA = "TFLite metadata"
    CUSTOM_VISION = "Custom Vision export"
    QUANTISED = "quantised input"


def chosen_shape(spec: TensorSpec, said: BundleToml) -> tuple[int, ...] | None:
    """Return the shape to give to an input that leaves its size open, None for one that does not."""
    size = (said.size, said.size) if isinstance(said.size, int) else said.size
    if -1 not in spec.signature[1:3]:
        if size is not None and (size[1], size[0]) != spec.shape[1:3]:
            raise BundleInvalid(f"bundle.toml: size is {size[0]}x{size[1]} and the model's input {spec.describe()}")
        return None
    if size is None:
        raise BundleInvalid(f"the model's input is {spec.describe()}: say its size in bundle.toml, e.g. size = 224")
    return (1, size[1], size[0], spec.shape[3])


def choose(
    spec: TensorSpec, said: BundleToml, metadata: TfliteMetadata | None, files: ModelFiles, override: Override
) -> tuple[Preprocessing, Source, str]:
    """Return the pre-processing, who said it and why. An explicit setting wins; then bundle.toml; then detection."""
    if override == "custom-vision":
        return _custom_vision(spec), Source.SETTING, "model.preprocessing = custom-vision"
    if override == "bundle" and not said.says_pixels:
        raise BundleInvalid("model.preprocessing is bundle, and there is no bundle.toml that says the pre-processing")
    if override == "metadata" and metadata is None:
        raise BundleInvalid("model.preprocessing is metadata, and the model has no TFLite metadata")
    if said.says_pixels and override != "metadata":
        return _from_toml(spec, said), Source.BUNDLE_TOML, "bundle.toml lies beside the model"
    if metadata is not None and (metadata.mean or spec.dtype != "float32"):
        return _from_metadata(spec, metadata), Source.METADATA, "the model carries TFLite metadata"
    return _detect(spec, files)


def _detect(spec: TensorSpec, files: ModelFiles) -> tuple[Preprocessing, Source, str]:
    square = spec.shape[1] == spec.shape[2] and spec.shape[3] == 3
    if spec.dtype == "float32" and square and files.manifest is not None:
        export = f"generation {files.manifest.version or 'unknown'}, {files.manifest.platform or 'unknown platform'}"
        return _custom_vision(spec), Source.CUSTOM_VISION, f"cvexport.manifest lies beside the model ({export})"
    if spec.dtype == "float32" and square and files.labels is not None:
        reason = f"a float32 input, {LABELS_FILE} and no metadata: taken for an export; bundle.toml can say otherwise"
        return _custom_vision(spec), Source.CUSTOM_VISION, reason
    if spec.dtype != "float32":
        reason = "a quantised input without metadata takes the pixels as they are; bundle.toml can say otherwise"
        return _plain(spec, full_range=True), Source.QUANTISED, reason
    raise BundleInvalid(
        f"nothing says how pictures become the model's input ({spec.describe()}): write a bundle.toml beside it, "
        'e.g. colour_order = "rgb", mean = 127.5, std = 127.5'
    )


def _custom_vision(spec: TensorSpec) -> Preprocessing:
    if spec.dtype != "float32" or spec.shape[1] != spec.shape[2] or spec.shape[3] != 3:
        raise BundleInvalid(f"the custom-vision preset needs a square float32 input, this model has {spec.describe()}")
    return custom_vision(spec.shape[1])


def _from_toml(spec: TensorSpec, said: BundleToml) -> Preprocessing:
    if said.preset is not None:
        return _custom_vision(spec)
    channels = spec.shape[3]
    order = said.colour_order or (ColourOrder.GREY if channels == 1 else ColourOrder.RGB)
    if (order is ColourOrder.GREY) != (channels == 1):
        raise BundleInvalid(f"bundle.toml: colour_order is {order} and the model has {channels} channels")
    unscaled = said.mean is None and said.std is None
    return _plain(
        spec,
        full_range=unscaled and spec.dtype != "float32",
        colour_order=order,
        resize=said.resize or Resize.STRETCH,
        mean=said.values("mean", channels),
        std=said.values("std", channels),
    )


def _from_metadata(spec: TensorSpec, metadata: TfliteMetadata) -> Preprocessing:
    # As the Task Library does it: normalisation is for float inputs, a quantised one takes the pixels.
    if spec.dtype != "float32":
        return _plain(spec, full_range=True)
    channels = spec.shape[3]
    mean, std = _widen(metadata.mean, channels), _widen(metadata.std, channels)
    if len(mean) != channels or len(std) != channels or not all(std):
        raise BundleInvalid(
            f"the model's metadata says mean {metadata.mean} and std {metadata.std}: write a bundle.toml"
        )
    return _plain(spec, mean=mean, std=std)


def _widen(values: tuple[float, ...], channels: int) -> tuple[float, ...]:
    return values * channels if len(values) == 1 else values


def _plain(
    spec: TensorSpec,
    *,
    full_range: bool = False,
    colour_order: ColourOrder | None = None,
    resize: Resize = Resize.STRETCH,
    mean: tuple[float, ...] | None = None,
    std: tuple[float, ...] | None = None,
) -> Preprocessing:
    channels = spec.shape[3]
    return Preprocessing(
        width=spec.shape[2],
        height=spec.shape[1],
        colour_order=colour_order or (ColourOrder.GREY if channels == 1 else ColourOrder.RGB),
        resize=resize,
        mean=mean or (0.0,) * channels,
        std=std or (1.0,) * channels,
        dtype=spec.dtype,
        quantisation=spec.quantisation,
        full_range=full_range,
    )

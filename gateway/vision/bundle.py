"""A model bundle: model, labels and pre-processing, checked to fit each other and tried once.

Owns: which pre-processing a model gets and why, and what can't be served. Nothing here is guessed in silence: the
source of the pre-processing is part of the bundle and is shown at start and by ``gateway model inspect``.
"""

import hashlib
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Literal

from gateway.errors import BundleInvalid
from gateway.messages import ModelIdentity
from gateway.settings import ModelSettings
from gateway.vision.bundle_toml import BundleToml, parse_bundle_toml
from gateway.vision.model_files import LABELS_FILE, ExportManifest, ModelFiles, read_model_files
from gateway.vision.preprocessing import ColourOrder, Preprocessing, Resize, custom_vision
from gateway.vision.runtime import Choice, Engine, Runtime, TensorSpec, load_runtime
from gateway.vision.tflite_file import TfliteMetadata, check_whole, read_metadata

Override = Literal["auto", "custom-vision", "metadata", "bundle"]

_INPUT_TYPES = ("float32", "uint8", "int8")
_DETECTION_CURE = (
    "The gateway classifies whole pictures for now: train a project of type Classification on a (compact) domain "
    "and export that as TensorFlow Lite."
)


class Source(StrEnum):
    """Who said how pictures are prepared."""

    BUNDLE_TOML = "bundle.toml"
    SETTING = "model.preprocessing"
    METADATA = "TFLite metadata"
    CUSTOM_VISION = "Custom Vision export"
    QUANTISED = "quantised input"


@dataclass(frozen=True, slots=True, kw_only=True)
class BundleDescription:
    """A bundle for people: the start banner and ``gateway model inspect``."""

    where: str
    identity: ModelIdentity
    labels: tuple[str, ...]
    input: str
    output: str
    preprocessing: str
    source: Source
    reason: str
    softmax: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Bundle:
    """A model that can be served. ``labels`` has one entry for each value of the model's output."""

    model: bytes
    identity: ModelIdentity
    labels: tuple[str, ...]
    input_shape: tuple[int, ...] | None
    preprocessing: Preprocessing
    softmax: bool
    description: BundleDescription

    def engine(self, runtime: Runtime) -> Engine:
        """Return a new engine for this model."""
        return runtime.engine(self.model, input_shape=self.input_shape)


def load_bundle(path: Path, *, runtime: Runtime, name: str = "", preprocessing: Override = "auto") -> Bundle:
    """Return the bundle at ``path``, after running the model once. Raises BundleInvalid with the cure."""
    files = read_model_files(path)
    _refuse_detection_export(files.manifest)
    check_whole(files.model)
    said = BundleToml() if files.bundle_toml is None else parse_bundle_toml(files.bundle_toml)
    metadata = read_metadata(files.model)
    engine = runtime.engine(files.model)
    _refuse_other_tasks(engine, files)
    input_shape = _chosen_shape(engine.inputs[0], said)
    if input_shape is not None:
        engine = runtime.engine(files.model, input_shape=input_shape)
    prepared, source, reason = _choose(engine.inputs[0], said, metadata, files, preprocessing)
    labels_bytes = _labels_bytes(files, metadata)
    output = runtime.try_once(engine)
    labels = _fit_labels(_parse_labels(labels_bytes), output.size, said)
    identity = ModelIdentity(
        name=name or said.name or files.name,
        model_sha256=hashlib.sha256(files.model).hexdigest(),
        labels_sha256=hashlib.sha256(labels_bytes).hexdigest(),
        runtime=runtime.name,
    )
    description = BundleDescription(
        where=files.where,
        identity=identity,
        labels=labels,
        input=engine.inputs[0].describe(),
        output=engine.outputs[0].describe(),
        preprocessing=prepared.describe(),
        source=source,
        reason=reason,
        softmax=said.softmax,
    )
    return Bundle(
        model=files.model,
        identity=identity,
        labels=labels,
        input_shape=input_shape,
        preprocessing=prepared,
        softmax=said.softmax,
        description=description,
    )


def load_model(settings: ModelSettings) -> tuple[Bundle, Runtime]:
    """Return what ``settings`` name. Raises BundleInvalid."""
    runtime = load_runtime(settings.runtime)
    return (
        load_bundle(settings.path, runtime=runtime, name=settings.name, preprocessing=settings.preprocessing),
        runtime,
    )


def inspect_bundle(
    path: Path, *, runtime: Choice = "auto", preprocessing: Override = "auto", name: str = ""
) -> BundleDescription:
    """Return what the bundle at ``path`` is, after running it once. Raises BundleInvalid."""
    return load_bundle(path, runtime=load_runtime(runtime), name=name, preprocessing=preprocessing).description


# --- what can't be served -----------------------------------------------------------------------------


def _refuse_detection_export(manifest: ExportManifest | None) -> None:
    if manifest is not None and manifest.domain_type == "ObjectDetection":
        raise BundleInvalid(f"this is a Custom Vision export of an object detection project. {_DETECTION_CURE}")


def _refuse_other_tasks(engine: Engine, files: ModelFiles) -> None:
    outputs = engine.outputs
    names = {spec.name for spec in outputs}
    if any("detected_boxes" in name for name in names):
        raise BundleInvalid(f"this is an object detection model (Custom Vision [S1] export). {_DETECTION_CURE}")
    if len(outputs) == 4:
        raise BundleInvalid(
            f"this is an object detection model (SSD: boxes, classes, scores, count). {_DETECTION_CURE}"
        )
    if len(engine.inputs) != 1 or len(outputs) != 1:
        counts = f"{len(engine.inputs)} inputs and {len(outputs)} outputs"
        raise BundleInvalid(f"the model has {counts}; an image classifier has one of each")
    _refuse_output_shape(outputs[0], files)
    _refuse_input_shape(engine.inputs[0])


def _refuse_output_shape(output: TensorSpec, files: ModelFiles) -> None:
    if output.dtype not in _INPUT_TYPES:
        raise BundleInvalid(f"the model's output is {output.dtype}; a classifier's is one of {', '.join(_INPUT_TYPES)}")
    # Custom Vision detection: H x W x 5 anchors of 4 box numbers, objectness and a score for each class.
    grid = len(output.shape) == 4 and (output.shape[1:3] != (1, 1) or -1 in output.signature[1:3])
    if grid and output.shape[3] % 5 == 0 and output.shape[3] >= 30:
        raise BundleInvalid(f"this is an object detection model (output {output.describe()}). {_DETECTION_CURE}")
    if grid or any(size != 1 for size in output.shape[:-1]):
        raise BundleInvalid(
            f"the model's output is {output.describe()}: not one number for each class, so {files.where} is no "
            "image classifier (segmentation, detection and embedding models are not served)"
        )


def _refuse_input_shape(spec: TensorSpec) -> None:
    if spec.dtype not in _INPUT_TYPES:
        raise BundleInvalid(f"the model's input is {spec.describe()}; served are {', '.join(_INPUT_TYPES)}")
    if len(spec.shape) == 4 and spec.shape[3] not in (1, 3) and spec.shape[1] in (1, 3):
        raise BundleInvalid(
            f"the model's input is {spec.describe()}: channels first, as PyTorch has it. "
            "Convert it with channels last (batch, height, width, channels)."
        )
    if len(spec.shape) != 4 or spec.shape[0] != 1 or spec.shape[3] not in (1, 3):
        raise BundleInvalid(f"the model's input is {spec.describe()}, expected 1 x height x width x 3 (or 1 for grey)")


# --- the input ----------------------------------------------------------------------------------------


def _chosen_shape(spec: TensorSpec, said: BundleToml) -> tuple[int, ...] | None:
    """Return the shape to give to an input that leaves its size open, None for one that does not."""
    size = (said.size, said.size) if isinstance(said.size, int) else said.size
    if -1 not in spec.signature[1:3]:
        if size is not None and (size[1], size[0]) != spec.shape[1:3]:
            raise BundleInvalid(f"bundle.toml: size is {size[0]}x{size[1]} and the model's input {spec.describe()}")
        return None
    if size is None:
        raise BundleInvalid(f"the model's input is {spec.describe()}: say its size in bundle.toml, e.g. size = 224")
    return (1, size[1], size[0], spec.shape[3])


def _choose(
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


# --- the labels ---------------------------------------------------------------------------------------


def _labels_bytes(files: ModelFiles, metadata: TfliteMetadata | None) -> bytes:
    if files.labels is not None:
        return files.labels
    if metadata is not None and metadata.labels is not None:
        return metadata.labels
    raise BundleInvalid(
        f"{files.where} has no labels: put a {LABELS_FILE} beside it, one class a line in the model's order"
    )


def _parse_labels(data: bytes) -> tuple[str, ...]:
    try:
        lines = [line.strip() for line in data.decode("utf-8-sig").splitlines()]
    except UnicodeDecodeError as error:
        raise BundleInvalid(f"{LABELS_FILE} is not UTF-8: save it as plain text") from error
    while lines and not lines[-1]:
        lines.pop()
    if not all(lines):
        raise BundleInvalid(f"{LABELS_FILE}: line {lines.index('') + 1} is empty, so the rest would be shifted")
    return tuple(lines)


def _fit_labels(labels: tuple[str, ...], width: int, said: BundleToml) -> tuple[str, ...]:
    if len(labels) == width:
        return labels
    if len(labels) == width - 1 and said.background_class:
        return ("background", *labels)
    cure = f"Take the {LABELS_FILE} that was exported with this model."
    if len(labels) == width - 1:
        cure = "If class 0 is a background class, say background_class = true in bundle.toml. " + cure
    raise BundleInvalid(f"the model has {width} classes and {LABELS_FILE} {len(labels)} labels. {cure}")

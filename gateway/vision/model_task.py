"""Is this an image classifier? What else it is, told by its manifest and by the shape of its tensors. Pure."""

from gateway.errors import BundleInvalid
from gateway.vision.model_files import ExportManifest, ModelFiles
from gateway.vision.runtime import Engine, TensorSpec

_TYPES = ("float32", "uint8", "int8")
_DETECTION_CURE = (
    "The gateway classifies whole pictures for now: train a project of type Classification on a (compact) domain "
    "and export that as TensorFlow Lite."
)


def refuse_detection_export(manifest: ExportManifest | None) -> None:
    """Raise BundleInvalid for an export of an object detection project."""
    if manifest is not None and manifest.domain_type == "ObjectDetection":
        raise BundleInvalid(f"this is a Custom Vision export of an object detection project. {_DETECTION_CURE}")


def refuse_other_tasks(engine: Engine, files: ModelFiles) -> None:
    """Raise BundleInvalid for every model that does not turn one picture into one number for each class."""
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
    if output.dtype not in _TYPES:
        raise BundleInvalid(f"the model's output is {output.dtype}; a classifier's is one of {', '.join(_TYPES)}")
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
    if spec.dtype not in _TYPES:
        raise BundleInvalid(f"the model's input is {spec.describe()}; served are {', '.join(_TYPES)}")
    if len(spec.shape) == 4 and spec.shape[3] not in (1, 3) and spec.shape[1] in (1, 3):
        raise BundleInvalid(
            f"the model's input is {spec.describe()}: channels first, as PyTorch has it. "
            "Convert it with channels last (batch, height, width, channels)."
        )
    if len(spec.shape) != 4 or spec.shape[0] != 1 or spec.shape[3] not in (1, 3):
        raise BundleInvalid(f"the model's input is {spec.describe()}, expected 1 x height x width x 3 (or 1 for grey)")

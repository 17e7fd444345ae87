"""The labels of a model: one for each value of its output, or the bundle is refused. Pure."""

from gateway.errors import BundleInvalid
from gateway.vision.bundle_toml import BundleToml
from gateway.vision.model_files import LABELS_FILE, ModelFiles
from gateway.vision.tflite_file import TfliteMetadata


def labels_bytes(files: ModelFiles, metadata: TfliteMetadata | None) -> bytes:
    """Return the labels as they lie in the bundle: labels.txt, else the metadata's. Raises BundleInvalid for none."""
    if files.labels is not None:
        return files.labels
    if metadata is not None and metadata.labels is not None:
        return metadata.labels
    raise BundleInvalid(
        f"{files.where} has no labels: put a {LABELS_FILE} beside it, one class a line in the model's order"
    )


def parse_labels(data: bytes) -> tuple[str, ...]:
    """Return one label for each line. Raises BundleInvalid: what is empty or not UTF-8."""
    try:
        lines = [line.strip() for line in data.decode("utf-8-sig").splitlines()]
    except UnicodeDecodeError as error:
        raise BundleInvalid(f"{LABELS_FILE} is not UTF-8: save it as plain text") from error
    while lines and not lines[-1]:
        lines.pop()
    if not all(lines):
        raise BundleInvalid(f"{LABELS_FILE}: line {lines.index('') + 1} is empty, so the rest would be shifted")
    return tuple(lines)


def fit_labels(labels: tuple[str, ...], width: int, said: BundleToml) -> tuple[str, ...]:
    """Return one label for each of ``width`` outputs, or raise BundleInvalid: a shifted list would lie for ever."""
    if len(labels) == width:
        return labels
    if len(labels) == width - 1 and said.background_class:
        return ("background", *labels)
    cure = f"Take the {LABELS_FILE} that was exported with this model."
    if len(labels) == width - 1:
        cure = "If class 0 is a background class, say background_class = true in bundle.toml. " + cure
    raise BundleInvalid(f"the model has {width} classes and {LABELS_FILE} {len(labels)} labels. {cure}")

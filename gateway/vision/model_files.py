"""Finding a model in what the operator has: a folder, an export's zip, either with its ``app/`` layout, or a .tflite.

Zips are read in memory, nothing is ever extracted. What is there instead of a TFLite model is named, with the cure.
"""

import json
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Protocol

from gateway.errors import BundleInvalid
from gateway.vision.bundle_toml import FILE_NAME as BUNDLE_TOML
from gateway.vision.tflite_file import ZIP_ERRORS, is_tflite

MODEL_FILE = "model.tflite"
LABELS_FILE = "labels.txt"
MANIFEST_FILE = "cvexport.manifest"

_MIB = 1024 * 1024
# An EfficientNet-B7 in float32 has 255 MB; what a small board serves has 2 to 20.
_MODEL_BYTES_MAX = 256 * _MIB
_TEXT_BYTES_MAX = _MIB
_ZIP_ENTRIES_MAX = 10_000

_EXPORT_CURE = (
    "In the Custom Vision portal train a (compact) domain, then Export → TensorFlow → TensorFlow Lite, or "
    "Export → Dockerfile → Linux, and give that zip as model.path."
)

# What people have instead, by the end of the file's name.
_FOREIGN: tuple[tuple[str, str, str], ...] = (
    (
        "saved_model.pb",
        "a TensorFlow SavedModel",
        "Convert it: tf.lite.TFLiteConverter.from_saved_model(folder).convert(), or export TensorFlow Lite.",
    ),
    ("model.pb", "a TensorFlow graph (model.pb; Custom Vision exports of generation 2.0 and 2.1)", _EXPORT_CURE),
    (".pb", "a TensorFlow graph", _EXPORT_CURE),
    (".onnx", "an ONNX model", _EXPORT_CURE),
    (".mlmodel", "a Core ML model", _EXPORT_CURE),
    ("model.json", "a TensorFlow.js model", _EXPORT_CURE),
    (".keras", "a Keras model", "Convert it: tf.lite.TFLiteConverter.from_keras_model(model).convert()."),
    (".h5", "a Keras model", "Convert it: tf.lite.TFLiteConverter.from_keras_model(model).convert()."),
    (".pt", "a PyTorch model", "Convert it to TensorFlow Lite, e.g. with litert-torch."),
    (".xml", "an OpenVINO model", _EXPORT_CURE),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportManifest:
    """What cvexport.manifest says; empty strings for what it does not."""

    domain_type: str
    platform: str
    version: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFiles:
    """The raw parts of a bundle. ``where`` names the model file for people, ``name`` is the bundle's own."""

    where: str
    name: str
    model: bytes
    labels: bytes | None
    bundle_toml: bytes | None
    manifest: ExportManifest | None


class _Files(Protocol):
    """Files by their path inside the bundle."""

    def names(self) -> Sequence[str]: ...

    def read(self, name: str, *, bytes_max: int) -> bytes: ...


def read_model_files(path: Path) -> ModelFiles:
    """Return the parts of the bundle at ``path``. Raises BundleInvalid: what it is instead, and the cure."""
    try:
        if path.is_dir():
            return _locate(_Folder(path), path, path.resolve().name)
        head = _head(path)
        if head.startswith(b"PK\x03\x04"):
            with zipfile.ZipFile(path) as archive:
                return _locate(_Zip(archive, path), path, path.stem)
        if is_tflite(head):
            return _bare(path)
    except (zipfile.BadZipFile, OverflowError) as error:  # the latter: an offset beyond 2 GB, on 32 bits
        raise BundleInvalid(f"{path} is a damaged zip ({error}): download the export again") from error
    except FileNotFoundError as error:
        raise BundleInvalid(f"there is no model at {path}: set model.path to a folder, a zip or a .tflite") from error
    except OSError as error:
        raise BundleInvalid(f"{path} can't be read: {error.strerror or error}") from error
    _refuse_foreign([path.name], str(path))
    raise BundleInvalid(
        f"{path} is not a model: it begins with {head[:8].hex(' ') or 'nothing'}. "
        "model.path takes a folder with model.tflite and labels.txt, an export's zip, or a .tflite with metadata."
    )


def _head(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(16)


def _bare(path: Path) -> ModelFiles:
    """Return a single .tflite; labels.txt and bundle.toml beside it count, as they would in a folder."""
    beside = _Folder(path.parent)
    return _collect(beside, path.name, str(path), path.resolve().parent.name if path.name == MODEL_FILE else path.stem)


def _locate(files: _Files, path: Path, name: str) -> ModelFiles:
    names = files.names()
    models = sorted((entry for entry in names if entry.lower().endswith(".tflite")), key=_by_depth)
    proper = [entry for entry in models if PurePosixPath(entry).name == MODEL_FILE]
    if proper or len(models) == 1:
        chosen = (proper or models)[0]
        return _collect(files, chosen, f"{path}/{chosen}", path.resolve().parent.name if name == "app" else name)
    if models:
        raise BundleInvalid(f"{path} holds {len(models)} models ({', '.join(models[:3])}): call one {MODEL_FILE}")
    _refuse_foreign(names, str(path), _generation(files))
    raise BundleInvalid(f"{path} holds no {MODEL_FILE}, neither at its top nor in app/. {_EXPORT_CURE}")


def _by_depth(name: str) -> tuple[int, str]:
    return len(PurePosixPath(name).parts), name


def _collect(files: _Files, model: str, where: str, name: str) -> ModelFiles:
    parent = PurePosixPath(model).parent
    known = set(files.names())

    def text(file_name: str) -> bytes | None:
        # Beside the model, else one up: in the app/ layout an own bundle.toml may lie at the top.
        for folder in dict.fromkeys((parent, parent.parent)):
            if str(folder / file_name) in known:
                return files.read(str(folder / file_name), bytes_max=_TEXT_BYTES_MAX)
        return None

    return ModelFiles(
        where=where,
        name=name,
        model=files.read(model, bytes_max=_MODEL_BYTES_MAX),
        labels=text(LABELS_FILE),
        bundle_toml=text(BUNDLE_TOML),
        manifest=_parse_manifest(text(MANIFEST_FILE)),
    )


def _parse_manifest(text: bytes | None) -> ExportManifest | None:
    if text is None:
        return None
    try:
        said = json.loads(text)
    except ValueError as error:
        raise BundleInvalid(f"{MANIFEST_FILE} is not JSON ({error}): take it from the export again") from error
    if not isinstance(said, dict):
        raise BundleInvalid(f"{MANIFEST_FILE} is not a JSON object: take it from the export again")
    return ExportManifest(
        domain_type=str(said.get("DomainType", "")),
        platform=str(said.get("Platform", "")),
        version=str(said.get("ExporterVersion", "")),
    )


def _generation(files: _Files) -> str:
    """Return what an export without a TFLite model says of itself, as the beginning of a sentence."""
    manifests = sorted((name for name in files.names() if PurePosixPath(name).name == MANIFEST_FILE), key=_by_depth)
    manifest = _parse_manifest(files.read(manifests[0], bytes_max=_TEXT_BYTES_MAX)) if manifests else None
    if manifest is None:
        return ""
    kind = "an object detection" if manifest.domain_type == "ObjectDetection" else "a classification"
    years = {"2.0": " (2019)", "2.1": " (2020-22)"}.get(manifest.version, "")
    platform = manifest.platform or "unknown platform"
    return f"This is {kind} export of Custom Vision, generation {manifest.version}{years}, for {platform}. "


def _refuse_foreign(names: Sequence[str], where: str, generation: str = "") -> None:
    for suffix, what, cure in _FOREIGN:
        found = [name for name in names if PurePosixPath(name.lower()).name.endswith(suffix)]
        if found:
            raise BundleInvalid(
                f"{generation}{where} holds {what}, which the TFLite runtimes can't run ({found[0]}). {cure}"
            )


# --- where files come from ----------------------------------------------------------------------------


class _Folder:
    def __init__(self, path: Path) -> None:
        self._path = path

    def names(self) -> Sequence[str]:
        return [
            entry.relative_to(self._path).as_posix()
            for pattern in ("*", "app/*")
            for entry in sorted(self._path.glob(pattern))
            if entry.is_file()
        ]

    def read(self, name: str, *, bytes_max: int) -> bytes:
        # Labels go to devices and to the cloud: a bundle from elsewhere must not make them another file's lines.
        inside = (self._path / name).resolve().is_relative_to(self._path.resolve())
        if not inside and not name.endswith(".tflite"):
            raise BundleInvalid(
                f"{self._path / name} is a link that leads out of the bundle: put the file itself there"
            )
        with (self._path / name).open("rb") as file:
            data = file.read(bytes_max + 1)
        _refuse_too_large(len(data), bytes_max, name)
        return data


class _Zip:
    def __init__(self, archive: zipfile.ZipFile, path: Path) -> None:
        self._archive = archive
        names = archive.namelist()
        if len(names) > _ZIP_ENTRIES_MAX:
            raise BundleInvalid(f"{path} has {len(names)} entries: that is no model export")
        for name in names:
            # Nothing is extracted, so this could do no harm; but no export has such names.
            if name.startswith("/") or "\\" in name or ".." in PurePosixPath(name).parts:
                raise BundleInvalid(f"{path} holds the entry {name!r}, which points outside of it: don't trust it")

    def names(self) -> Sequence[str]:
        return [entry.filename for entry in self._archive.infolist() if not entry.is_dir()]

    def read(self, name: str, *, bytes_max: int) -> bytes:
        _refuse_too_large(self._archive.getinfo(name).file_size, bytes_max, name)
        try:
            with self._archive.open(name) as file:
                data = file.read(bytes_max + 1)  # the size in the directory may lie
        except ZIP_ERRORS as error:
            raise BundleInvalid(
                f"{name} in the zip can't be read: {error}. Download the export again; it must have no password."
            ) from error
        _refuse_too_large(len(data), bytes_max, name)
        return data


def _refuse_too_large(size: int, bytes_max: int, name: str) -> None:
    if size > bytes_max:
        raise BundleInvalid(f"{name} has more than {bytes_max // _MIB} MiB, too much for a bundle")

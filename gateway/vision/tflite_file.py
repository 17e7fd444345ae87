"""The TFLite file format: is this whole, and what does its metadata say. Pure; no runtime needed.

Sources: tensorflow/lite/schema/schema.fbs (version 3) and tflite-support's metadata_schema.fbs; the numbers of the
fields below are their order there. Metadata is a second flatbuffer inside the model; the files that it names (labels)
are a zip appended to the model.
"""

import struct
import zipfile
import zlib
from dataclasses import dataclass
from io import BytesIO

from gateway.errors import BundleInvalid
from gateway.vision.flatbuffer import FlatbufferDamaged, Table

_IDENTIFIER = b"TFL3"
_SCHEMA_VERSION = 3
_NORMALISATION = 1  # ProcessUnitOptions.NormalizationOptions
_AXIS_LABELS = 2  # AssociatedFileType.TENSOR_AXIS_LABELS
_LABELS_BYTES_MAX = 1024 * 1024

# What zipfile raises for damaged, encrypted and strangely compressed archives.
ZIP_ERRORS = (
    zipfile.BadZipFile,
    KeyError,
    ValueError,
    RuntimeError,  # a password; NotImplementedError is one as well
    EOFError,
    OSError,
    struct.error,
    OverflowError,  # an offset beyond 2 GB, where that is all that there is (32 bits)
    zlib.error,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class TfliteMetadata:
    """What a model says of itself. ``mean`` and ``std`` are empty without a normalisation; ``labels`` is the file."""

    name: str
    mean: tuple[float, ...]
    std: tuple[float, ...]
    labels: bytes | None


def is_tflite(data: bytes) -> bool:
    """Return whether the data carries TFLite's file identifier."""
    return data[4:8] == _IDENTIFIER


def check_whole(model: bytes) -> None:
    """Raise BundleInvalid unless every table and buffer of the model lies inside the data.

    tflite-runtime dies with SIGSEGV on a truncated file, before it can raise: so we look first. This finds a file that
    was cut short or overwritten, and not one that was forged with care: the model is the operator's own.
    """
    if not is_tflite(model):
        raise BundleInvalid(
            f"the model is not a TFLite file: it begins with {model[:8].hex(' ') or 'nothing'} instead of "
            "....TFL3. Give model.path a .tflite file, or a folder or zip that holds one."
        )
    try:
        _walk(Table.root(model))
    except (FlatbufferDamaged, struct.error) as error:
        raise BundleInvalid(
            f"the TFLite file is damaged or was cut short ({error}; it has {len(model)} bytes). "
            "Copy it again and compare sizes or sha256 sums."
        ) from error


def _walk(root: Table) -> None:
    version = root.integer(0)
    if version != _SCHEMA_VERSION:
        raise FlatbufferDamaged(f"schema version {version}, expected {_SCHEMA_VERSION}")
    operator_codes, buffers = root.tables(1), root.tables(4)
    for code in operator_codes:
        code.text(1)
    for buffer in buffers:
        buffer.blob(0)
    for graph in root.tables(2):
        _walk_subgraph(graph, operator_count=len(operator_codes), buffer_count=len(buffers))


def _walk_subgraph(graph: Table, *, operator_count: int, buffer_count: int) -> None:
    tensors = graph.tables(0)
    for tensor in tensors:
        tensor.check_vector(0, 4)
        tensor.check_vector(3, 1)
        _check_index(tensor.integer(2), buffer_count, "buffer")
        quantisation = tensor.table(4)
        if quantisation is not None:
            quantisation.check_vector(2, 4)
            quantisation.check_vector(3, 8)
    for index in (*graph.integers(1), *graph.integers(2)):
        _check_index(index, len(tensors), "tensor")
    for operator in graph.tables(3):
        _check_index(operator.integer(0), operator_count, "operator code")
        for index in (*operator.integers(1), *operator.integers(2)):
            if index != -1:  # an optional input that is absent
                _check_index(index, len(tensors), "tensor")
        operator.table(4)
        operator.check_vector(5, 1)


def _check_index(index: int, count: int, what: str) -> None:
    if not 0 <= index < count:
        raise FlatbufferDamaged(f"{what} {index} of {count}")


# --- metadata -----------------------------------------------------------------------------------------


def read_metadata(model: bytes) -> TfliteMetadata | None:
    """Return the model's metadata, or None without any. Raises BundleInvalid if it is damaged."""
    try:
        block = _metadata_block(Table.root(model))
        return None if block is None else _parse(model, Table.root(block))
    except (FlatbufferDamaged, struct.error, IndexError) as error:
        raise BundleInvalid(
            f"the model's TFLite metadata is damaged ({error}). Copy the file again, or write the pre-processing "
            "into a bundle.toml beside it."
        ) from error


def _metadata_block(root: Table) -> bytes | None:
    for entry in root.tables(6):
        if entry.text(0) == "TFLITE_METADATA":
            return bytes(root.tables(4)[entry.integer(1)].blob(0))
    return None


def _parse(model: bytes, metadata: Table) -> TfliteMetadata:
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    labels: bytes | None = None
    for graph in metadata.tables(3)[:1]:
        for unit in (unit for tensor in graph.tables(2)[:1] for unit in tensor.tables(4)):
            options = unit.table(1)
            if unit.integer(0, "<B") == _NORMALISATION and options is not None:
                mean, std = options.floats(0), options.floats(1)
        for file in (file for tensor in graph.tables(3)[:1] for file in tensor.tables(6)):
            if file.integer(2, "<b") == _AXIS_LABELS and labels is None:
                labels = _appended_file(model, file.text(0))
    return TfliteMetadata(name=metadata.text(0), mean=mean, std=std, labels=labels)


def _appended_file(model: bytes, name: str) -> bytes | None:
    try:
        with zipfile.ZipFile(BytesIO(model)) as archive, archive.open(name) as file:
            return file.read(_LABELS_BYTES_MAX)
    except ZIP_ERRORS:  # the caller asks for labels.txt instead
        return None

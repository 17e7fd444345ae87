"""Make the tiny TFLite models under ``models/``: run with TensorFlow 2.21 (``pip install tensorflow-cpu==2.21.*``).

Each classifies a picture by its strongest colour channel, so that a test can tell results apart: the mean of every
channel, times a sharpness, and a softmax. Committed with what this script made; run it again only to change them.
"""

import io
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import flatbuffers  # type: ignore[import-untyped]  # it comes with TensorFlow
import numpy as np
import tensorflow as tf
from tensorflow.lite.python import schema_py_generated as schema

HERE = Path(__file__).resolve().parent / "models"
SIDE = 16
SHARPNESS = 0.02


def convolution_net(*, scale: float) -> Any:
    """The same answer without a dense layer: see ``quantised``."""
    pictures = tf.keras.Input((SIDE, SIDE, 3), batch_size=1)
    means = tf.keras.layers.GlobalAveragePooling2D(keepdims=True)(pictures)
    mix = tf.keras.layers.Conv2D(3, 1)
    answer = tf.keras.layers.Softmax()(tf.keras.layers.Reshape((3,))(mix(means)))
    mix.set_weights([np.eye(3, dtype=np.float32).reshape(1, 1, 3, 3) * SHARPNESS * scale, np.zeros(3, np.float32)])
    return tf.keras.Model(pictures, answer)


def colour_net(*, scale: float = 1.0, softmax: bool = True, side: int | None = SIDE) -> Any:
    pictures = tf.keras.Input((side, side, 3), batch_size=1)
    means = tf.keras.layers.GlobalAveragePooling2D()(pictures)
    dense = tf.keras.layers.Dense(3, activation="softmax" if softmax else None)
    answer = dense(means)
    dense.set_weights([np.eye(3, dtype=np.float32) * SHARPNESS * scale, np.zeros(3, np.float32)])
    return tf.keras.Model(pictures, answer)


def convert(net: Any, **options: Any) -> bytes:
    converter = tf.lite.TFLiteConverter.from_keras_model(net)
    for key, value in options.items():
        setattr(converter, key, value)
    return bytes(converter.convert())


def quantised(kind: Any, *, scale: float, net: Any = None) -> bytes:
    """Full-integer, calibrated on pixels whose real range is 0..255 (scale 1) or -1..1 (scale 127.5).

    By a convolution: a dense layer of 2 or 3 answers crashes tflite-runtime 2.14 on 32-bit ARM (gateway.vision.trial).
    """

    def examples() -> Iterator[list[Any]]:
        generator = np.random.default_rng(1)
        for _ in range(200):
            pixels = generator.integers(0, 256, (1, SIDE, SIDE, 3)).astype(np.float32)
            pixels *= generator.integers(0, 2, 3)
            yield [pixels if scale == 1 else (pixels - 127.5) / 127.5]

    converter = tf.lite.TFLiteConverter.from_keras_model(net or convolution_net(scale=scale))
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = examples
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = kind
    converter.inference_output_type = kind
    return bytes(converter.convert())


def float16() -> bytes:
    converter = tf.lite.TFLiteConverter.from_keras_model(colour_net())
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.target_spec.supported_types = [tf.float16]
    return bytes(converter.convert())


def from_function(function: Any, *shapes: tuple[int, ...], custom: bool = False) -> bytes:
    specs = [tf.TensorSpec(shape, tf.float32) for shape in shapes]
    concrete = tf.function(function).get_concrete_function(*specs)
    converter = tf.lite.TFLiteConverter.from_concrete_functions([concrete])
    converter.allow_custom_ops = custom
    return bytes(converter.convert())


def grid_detector(pixels: Any) -> Any:
    """Output like a Custom Vision detector's for two classes: 5 anchors x (5 + 2) on a grid."""
    cells = tf.nn.avg_pool2d(pixels, 4, 4, "VALID")
    return tf.tile(cells[..., :1], (1, 1, 1, 35))


def ssd_detector(pixels: Any) -> Any:
    mean = tf.reduce_mean(pixels)
    return mean * tf.ones((1, 10, 4)), mean * tf.ones((1, 10)), mean + tf.ones((1, 10)), mean + tf.ones((1,))


def s1_detector(pixels: Any) -> Any:
    mean = tf.reduce_mean(pixels)
    return mean * tf.ones((10, 4)), mean * tf.ones((10,)), mean + tf.ones((10,))


def channels_first(pixels: Any) -> Any:
    return tf.reduce_mean(pixels, (2, 3))


def unknown_operator(pixels: Any) -> Any:
    return tf.reshape(tf.linalg.det(tf.matmul(pixels[..., 0], pixels[..., 1])), (1, 1))


def not_a_number(pixels: Any) -> Any:
    means = tf.reduce_mean(pixels, (1, 2))
    return means - means / (means * 0.0)


def rename_outputs(model: bytes, names: tuple[str, ...]) -> bytes:
    tree = schema.ModelT.InitFromPackedBuf(model, 0)
    graph = tree.subgraphs[0]
    for index, name in zip(graph.outputs, names, strict=True):
        graph.tensors[index].name = name.encode()
    return pack(tree)


def pack(tree: Any) -> bytes:
    builder = flatbuffers.Builder(1024)
    builder.Finish(tree.Pack(builder), b"TFL3")
    return bytes(builder.Output())


# --- metadata: what tflite-support writes, without it ---------------------------------------------------


def with_metadata(model: bytes, *, mean: tuple[float, ...], std: tuple[float, ...], labels: tuple[str, ...]) -> bytes:
    tree = schema.ModelT.InitFromPackedBuf(model, 0)
    buffer = schema.BufferT()
    buffer.data = np.frombuffer(metadata_block(mean, std), np.uint8)
    tree.buffers.append(buffer)
    entry = schema.MetadataT()
    entry.name, entry.buffer = "TFLITE_METADATA", len(tree.buffers) - 1
    tree.metadata = [*(tree.metadata or []), entry]
    return pack(tree) + zip_of("labels.txt", "\n".join(labels).encode())


def metadata_block(mean: tuple[float, ...], std: tuple[float, ...]) -> bytes:
    """ModelMetadata → SubGraphMetadata → TensorMetadata → ProcessUnit (normalisation) and AssociatedFile (labels)."""
    builder = flatbuffers.Builder(512)
    unit = table(builder, {0: ("<B", 1), 1: table(builder, {0: floats(builder, mean), 1: floats(builder, std)})})
    picture = table(builder, {0: builder.CreateString("image"), 4: vector(builder, [unit])})
    file = table(builder, {0: builder.CreateString("labels.txt"), 2: ("<b", 2)})
    classes = table(builder, {0: builder.CreateString("probability"), 6: vector(builder, [file])})
    graph = table(builder, {2: vector(builder, [picture]), 3: vector(builder, [classes])})
    root = table(builder, {0: builder.CreateString("colours"), 3: vector(builder, [graph])})
    builder.Finish(root, b"M001")
    return bytes(builder.Output())


def table(builder: Any, fields: dict[int, Any]) -> int:
    builder.StartObject(max(fields) + 1)
    for slot, value in fields.items():
        if isinstance(value, tuple):
            add = builder.PrependUint8Slot if value[0] == "<B" else builder.PrependInt8Slot
            add(slot, value[1], 0)
        else:
            builder.PrependUOffsetTRelativeSlot(slot, value, 0)
    return int(builder.EndObject())


def vector(builder: Any, offsets: list[int]) -> int:
    builder.StartVector(4, len(offsets), 4)
    for offset in reversed(offsets):
        builder.PrependUOffsetTRelative(offset)
    return int(builder.EndVector())


def floats(builder: Any, values: tuple[float, ...]) -> int:
    builder.StartVector(4, len(values), 4)
    for value in reversed(values):
        builder.PrependFloat32(value)
    return int(builder.EndVector())


def zip_of(name: str, body: bytes) -> bytes:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_STORED) as writer:
        writer.writestr(zipfile.ZipInfo(name, (2024, 1, 1, 0, 0, 0)), body)
    return archive.getvalue()


def main() -> None:
    shape = (1, SIDE, SIDE, 3)
    scaled = convert(colour_net(scale=127.5))
    models = {
        "float32": convert(colour_net()),
        "float16": float16(),
        "uint8": quantised(tf.uint8, scale=1),
        "int8": quantised(tf.int8, scale=127.5),
        "int8_dense": quantised(tf.int8, scale=127.5, net=colour_net(scale=127.5)),
        "int8_dense_inside": quantised(tf.float32, scale=127.5, net=colour_net(scale=127.5)),
        "logits": convert(colour_net(softmax=False)),
        "metadata": with_metadata(scaled, mean=(127.5,), std=(127.5,), labels=("red", "green", "blue")),
        "open_size": convert(colour_net(side=None)),
        "detector_grid": from_function(grid_detector, shape),
        "detector_ssd": from_function(ssd_detector, shape),
        "detector_s1": rename_outputs(
            from_function(s1_detector, shape), ("detected_boxes", "detected_classes", "detected_scores")
        ),
        "channels_first": from_function(channels_first, (1, 3, SIDE, SIDE)),
        "unknown_operator": from_function(unknown_operator, shape, custom=True),
        "not_a_number": from_function(not_a_number, shape),
    }
    for name, model in models.items():
        (HERE / f"{name}.tflite").write_bytes(model)
        sys.stdout.write(f"{name}: {len(model)} bytes\n")


if __name__ == "__main__":
    main()

"""The demo model's net: depthwise separable convolutions as in MobileNet (Howard et al., arXiv:1704.04861), small.

Input: float32 (n, 224, 224, 3), BGR, 0..255, as Custom Vision's exports expect it; scaling is inside.
Output: softmax over the labels.
"""

from typing import Any

import tensorflow as tf

# (channels out, stride) of each separable block; 224 → 112 by the first convolution, then → 7.
_BLOCKS = ((24, 2), (32, 1), (48, 2), (48, 1), (96, 2), (96, 1), (128, 2), (128, 1))
_STEM_CHANNELS = 16
# Below Keras's 0.99: with some two thousand steps in all, a slower average would still remember its start.
_NORM_MOMENTUM = 0.9


def build_net(side: int, classes: int) -> Any:
    """Return the untrained Keras model."""
    layers = tf.keras.layers
    inputs = tf.keras.Input((side, side, 3), name="image_bgr")
    x = layers.Rescaling(1 / 127.5, offset=-1.0)(inputs)
    x = layers.Conv2D(_STEM_CHANNELS, 3, strides=2, padding="same", use_bias=False)(x)
    x = _normalised(x)
    for channels, stride in _BLOCKS:
        x = layers.DepthwiseConv2D(3, strides=stride, padding="same", use_bias=False)(x)
        x = _normalised(x)
        x = layers.Conv2D(channels, 1, use_bias=False)(x)
        x = _normalised(x)
    x = layers.GlobalAveragePooling2D()(x)
    x = layers.Dropout(0.2)(x)
    outputs = layers.Dense(classes, activation="softmax", name="probabilities")(x)
    return tf.keras.Model(inputs, outputs, name="fruit_demo")


def _normalised(x: Any) -> Any:
    x = tf.keras.layers.BatchNormalization(momentum=_NORM_MOMENTUM)(x)
    return tf.keras.layers.ReLU(6.0)(x)


def to_tflite(net: Any) -> bytes:
    """Return the net as a float32 TFLite model: both runtimes then agree to 1e-6."""
    converted: bytes = tf.lite.TFLiteConverter.from_keras_model(net).convert()
    return converted

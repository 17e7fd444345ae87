"""Synthetic pictures of ripe and unripe fruit, drawn with Pillow and NumPy alone.

For the demo model's training set, the committed examples, device simulators and benchmarks. Nothing here is a
photograph, and a model trained on these pictures knows these pictures. The same generator state gives the same
picture on one version of NumPy and Pillow; across versions single pixels may differ.
"""

from gateway.simulators.fruit.conditions import FIELD, HELD_OUT, STUDIO, Conditions
from gateway.simulators.fruit.scene import draw_fruit, fruit_jpeg, jpeg_bytes
from gateway.simulators.fruit.species import FruitKind

__all__ = ["FIELD", "HELD_OUT", "STUDIO", "Conditions", "FruitKind", "draw_fruit", "fruit_jpeg", "jpeg_bytes"]

"""The demo model's card: what it is, honestly, with the figures of the run that made it."""

import hashlib
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """What one training run measured. ``confusion`` has a row for each truth: ripe, unripe."""

    seed: int
    epochs: int
    training_pictures: int
    validation_pictures: int
    validation_accuracy: float
    unseen_pictures: int
    unseen_accuracy: float
    unseen_confidence: float
    baseline_accuracy: float
    confusion: tuple[tuple[int, int], tuple[int, int]]
    weights: int
    tensorflow: str


def render_card(model: bytes, figures: Figures) -> str:
    """Return MODEL_CARD.md for the model's bytes."""
    (ripe_ripe, ripe_unripe), (unripe_ripe, unripe_unripe) = figures.confusion
    return _TEMPLATE.format(
        sha256=hashlib.sha256(model).hexdigest(),
        kilobytes=len(model) / 1000,
        f=figures,
        ripe_ripe=ripe_ripe,
        ripe_unripe=ripe_unripe,
        unripe_ripe=unripe_ripe,
        unripe_unripe=unripe_unripe,
    )


_TEMPLATE = """\
# fruit-demo: ripe or unripe

A small image classifier that comes with the gateway, so that a fresh installation answers before you bring a model of
your own. **It has never seen a photograph.** It was trained on pictures that a program drew, and its figures below are
about such pictures and say nothing about real fruit.

| | |
|---|---|
| File | `model.tflite`, {kilobytes:.0f} kB, float32 |
| sha256 | `{sha256}` |
| Labels | `ripe`, `unripe` (`labels.txt`, in the order of the outputs; the two probabilities add up to 1) |
| Input | 1 x 224 x 224 x 3 float32, **BGR**, 0..255: Custom Vision 2.2 pre-processing; scaling is inside |
| Net | depthwise separable convolutions (MobileNet, arXiv:1704.04861), {f.weights:,} weights |
| Made by | TensorFlow {f.tensorflow} |
| Licence | MIT, as the rest of this project; no foreign data, nothing downloaded |

The folder is laid out like a Custom Vision export so that it takes the same path through the gateway, but Custom Vision
had no part in making it.

## For what, and for what not

For trying the gateway, its tests, its benchmarks and its simulated devices. Not for judging fruit. A photograph of a
banana gets an answer too, often a confident one, and it may be wrong; a photograph of a cat gets one as well, since the
model knows only two answers. Green apple varieties count as unripe and white strawberry varieties as well. For real
fruit train a model on photographs of your own, and set `model.path` to its export.

## Data

{f.training_pictures} training and {f.validation_pictures} validation pictures, drawn by `gateway.simulators.fruit`
from seed {f.seed}: apple, avocado, banana, mango, strawberry and tomato in equal parts, half of each ripe, one to three
fruits of one kind and ripeness, before six kinds of background, under changing light, colour temperature, blur, noise
and JPEG quality, some partly hidden. Ripeness shows in the kind's own way: a ripe banana has flecks, a ripe avocado is
dark, an unripe mango may be red where the sun shone, a ripe strawberry may have white shoulders, an unripe tomato may
blush at one end. Half-ripe fruit, the hard cases of the real world, is left out on purpose.

The unseen pictures are in `tests/data/unseen-fruit`: random numbers of their own, two backgrounds that training never
shows (gingham cloth, conveyor belt), and light, blur and noise a little beyond training's range. They come from the
same drawing program, so they test that the whole path works, not that the model understands fruit.

## Figures

| | accuracy |
|---|---|
| {f.unseen_pictures} unseen pictures | **{f.unseen_accuracy:.3f}** (median confidence {f.unseen_confidence:.3f}) |
| {f.validation_pictures} validation pictures | {f.validation_accuracy:.3f} |
| for comparison, on the unseen: least squares on 8x8 thumbnails | {f.baseline_accuracy:.3f} |

| unseen: truth \\ answer | ripe | unripe |
|---|---|---|
| ripe | {ripe_ripe} | {ripe_unripe} |
| unripe | {unripe_ripe} | {unripe_unripe} |

A test holds the committed model to at least 0.95 on the unseen pictures in both runtimes.

## Make it again

```
pip install -e '.[train]'
python -m training.draw_pictures        # examples/ and the unseen pictures
python -m training.train_demo_model     # {f.epochs} epochs; about 15 minutes on two cores
```

The seed fixes the pictures and the first weights. Sums in another order (other processors, other versions) still give
other weights: expect another sha256, and one or two of the unseen pictures told otherwise. What is promised is the
floor: the script writes nothing when the accuracy on the unseen pictures is below 0.95.
"""

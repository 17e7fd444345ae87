"""Trains the demo model and writes its folder: ``config/models/fruit``.

    pip install -e '.[train]'
    python -m training.train_demo_model [--out FOLDER] [--pictures N] [--epochs N] [--seed N]

Draws its pictures (nothing is downloaded), trains, converts to TFLite, and prints a confusion matrix and the
accuracy on the committed unseen pictures. Exits 1, writing nothing, below the floor of 0.95.
About 15 minutes on two cores.
"""

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from training.demo_net import build_net, to_tflite
from training.model_card import Figures, render_card
from training.pictures import LABELS, SEED, SIDE, PictureSet, Stream, draw_set, net_input

ROOT = Path(__file__).resolve().parents[1]
ACCURACY_FLOOR = 0.95
_BATCH = 32
_LEARNING_RATE = 2e-3
_VALIDATION_PICTURES = 504
_BUNDLE = """\
# What the gateway needs to know beside model.tflite and labels.txt: pictures are prepared as Custom Vision does.
name = "fruit-demo"
preset = "custom-vision"
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What the command line says."""

    out: Path
    pictures: int
    epochs: int
    seed: int


def train(options: Options, training: PictureSet, validation: PictureSet) -> Any:
    """Return the trained Keras model; Keras prints a line per epoch."""
    tf.keras.utils.set_random_seed(options.seed)
    net = build_net(SIDE, len(LABELS))
    steps = options.epochs * -(-options.pictures // _BATCH)
    schedule = tf.keras.optimizers.schedules.CosineDecay(_LEARNING_RATE, steps)
    net.compile(tf.keras.optimizers.Adam(schedule), "sparse_categorical_crossentropy", metrics=["accuracy"])
    # shuffle=False: Keras would shuffle the batches; the dataset shuffles the pictures.
    batches, checked = _batches(training, seed=options.seed), _batches(validation)
    net.fit(batches, epochs=options.epochs, validation_data=checked, shuffle=False, verbose=2)
    return net


def _batches(pictures: PictureSet, *, seed: int | None = None) -> Any:
    """Return a dataset of float32 batches; with a seed also shuffled and mirrored at random."""
    numbers = tf.data.Dataset.range(len(pictures.classes))
    if seed is not None:
        numbers = numbers.shuffle(len(pictures.classes), seed=seed, reshuffle_each_iteration=True)

    def load(number: Any) -> Any:
        picture = tf.numpy_function(lambda index: pictures.inputs[index], [number], tf.uint8)
        picture = tf.cast(tf.ensure_shape(picture, (SIDE, SIDE, 3)), tf.float32)
        picture = tf.image.random_flip_left_right(picture, seed=seed) if seed is not None else picture
        return picture, tf.gather(pictures.classes, number)

    return numbers.map(load, num_parallel_calls=1, deterministic=True).batch(_BATCH).prefetch(2)


def unseen_pictures(folder: Path) -> PictureSet:
    """Return the committed unseen pictures; their names end with the truth."""
    paths = sorted(folder.glob("*.jpg"))
    inputs = np.stack([net_input(path.read_bytes()) for path in paths])
    truths = [LABELS.index(path.stem.rsplit("-", 1)[1]) for path in paths]
    return PictureSet(inputs=inputs, classes=np.array(truths, np.int64))


def tflite_probabilities(model: bytes, inputs: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return the converted model's answers, one picture at a time as the gateway asks."""
    interpreter = tf.lite.Interpreter(model_content=model, num_threads=1)
    interpreter.allocate_tensors()
    source, target = interpreter.get_input_details()[0]["index"], interpreter.get_output_details()[0]["index"]
    answers = []
    for picture in inputs:
        interpreter.set_tensor(source, picture[None].astype(np.float32))
        interpreter.invoke()
        answers.append(interpreter.get_tensor(target)[0].copy())
    return np.array(answers, np.float32)


def confusion(truths: NDArray[np.int64], answers: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return counts: a row for each truth, a column for each answer."""
    matrix = np.zeros((len(LABELS), len(LABELS)), np.int64)
    np.add.at(matrix, (truths, answers), 1)
    return matrix


def baseline_accuracy(training: PictureSet, unseen: PictureSet) -> float:
    """Return what least squares on 8x8 thumbnails reaches: how much of the task is plain colour."""

    def thumbnails(pictures: PictureSet) -> NDArray[np.float64]:
        cells = pictures.inputs.reshape(-1, 8, SIDE // 8, 8, SIDE // 8, 3).mean(axis=(2, 4)).reshape(-1, 192) / 255.0
        return np.hstack([cells, np.ones((len(cells), 1))])

    weights = np.linalg.lstsq(thumbnails(training), training.classes - 0.5, rcond=None)[0]
    answers = (thumbnails(unseen) @ weights > 0).astype(np.int64)
    return float((answers == unseen.classes).mean())


def write_bundle(out: Path, model: bytes, figures: Figures) -> None:
    """Write the folder that ``model.path`` names."""
    out.mkdir(parents=True, exist_ok=True)
    (out / "model.tflite").write_bytes(model)
    (out / "labels.txt").write_text("\n".join(LABELS) + "\n", encoding="utf-8")
    (out / "bundle.toml").write_text(_BUNDLE, encoding="utf-8")
    (out / "MODEL_CARD.md").write_text(render_card(model, figures), encoding="utf-8")


def main() -> int:
    options = _options()
    unseen = unseen_pictures(ROOT / "tests" / "data" / "unseen-fruit")
    training = draw_set(Stream.TRAINING, options.pictures, seed=options.seed)
    validation = draw_set(Stream.VALIDATION, _VALIDATION_PICTURES, seed=options.seed)
    net = train(options, training, validation)
    model = to_tflite(net)
    figures = _measure(model, net.count_params(), options, training, validation, unseen)
    _print_figures(figures)
    if figures.unseen_accuracy < ACCURACY_FLOOR:
        print(f"below the floor of {ACCURACY_FLOOR}: nothing written", file=sys.stderr)
        return 1
    write_bundle(options.out, model, figures)
    print(f"written: {options.out} ({len(model) / 1000:.0f} kB)")
    return 0


def _measure(
    model: bytes, weights: int, options: Options, training: PictureSet, validation: PictureSet, unseen: PictureSet
) -> Figures:
    probabilities = tflite_probabilities(model, unseen.inputs)
    matrix = confusion(unseen.classes, probabilities.argmax(axis=1))
    validated = tflite_probabilities(model, validation.inputs).argmax(axis=1) == validation.classes
    return Figures(
        seed=options.seed,
        epochs=options.epochs,
        training_pictures=options.pictures,
        validation_pictures=_VALIDATION_PICTURES,
        validation_accuracy=float(validated.mean()),
        unseen_pictures=len(unseen.classes),
        unseen_accuracy=float(np.trace(matrix) / matrix.sum()),
        unseen_confidence=float(np.median(probabilities.max(axis=1))),
        baseline_accuracy=baseline_accuracy(training, unseen),
        confusion=((int(matrix[0, 0]), int(matrix[0, 1])), (int(matrix[1, 0]), int(matrix[1, 1]))),
        weights=weights,
        tensorflow=tf.__version__,
    )


def _print_figures(figures: Figures) -> None:
    print("\nunseen pictures, rows are the truth, columns the answer")
    print(f"{'':>8} {LABELS[0]:>8} {LABELS[1]:>8}")
    for label, row in zip(LABELS, figures.confusion, strict=True):
        print(f"{label:>8} {row[0]:>8} {row[1]:>8}")
    print(f"accuracy on {figures.unseen_pictures} unseen pictures: {figures.unseen_accuracy:.3f}")
    print(f"accuracy on {figures.validation_pictures} validation pictures: {figures.validation_accuracy:.3f}")
    print(f"8x8 thumbnails and least squares, for comparison: {figures.baseline_accuracy:.3f}")


def _options() -> Options:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=ROOT / "config" / "models" / "fruit")
    parser.add_argument("--pictures", type=int, default=6000)
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--seed", type=int, default=SEED)
    found = parser.parse_args()
    return Options(out=found.out, pictures=found.pictures, epochs=found.epochs, seed=found.seed)


if __name__ == "__main__":
    sys.exit(main())

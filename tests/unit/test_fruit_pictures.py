"""The drawn fruit: repeatable, of the size asked for, and drawn with Pillow and NumPy alone."""

import ast
import io
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageChops, ImageStat

from gateway.simulators.fruit import FIELD, HELD_OUT, STUDIO, Conditions, FruitKind, draw_fruit, fruit_jpeg
from training.draw_pictures import EXAMPLES, draw_examples
from training.pictures import LABELS, Stream, generator, subject

ROOT = Path(__file__).resolve().parents[2]


def draw(seed: int, kind: FruitKind = FruitKind.APPLE, *, ripe: bool = True, conditions: Conditions = FIELD) -> bytes:
    rng = np.random.default_rng(seed)
    return draw_fruit(rng, kind=kind, ripe=ripe, size=(64, 48), conditions=conditions).tobytes()


def difference(first: Image.Image, second: Image.Image) -> float:
    """Return the mean difference of two pictures in levels of 255."""
    return float(np.mean(ImageStat.Stat(ImageChops.difference(first.convert("RGB"), second.convert("RGB"))).mean))


def test_same_seed_draws_same_picture() -> None:
    assert draw(1) == draw(1)


def test_other_seed_draws_another_picture() -> None:
    assert draw(1) != draw(2)


@pytest.mark.parametrize("kind", list(FruitKind))
def test_ripeness_changes_the_fruit_and_not_the_scene(kind: FruitKind) -> None:
    still = Conditions(backgrounds=("plain",), fruit_radius=(0.3, 0.3))
    ripe, unripe = (
        Image.frombytes("RGB", (64, 48), draw(3, kind, ripe=ripe, conditions=still)) for ripe in (True, False)
    )
    corner, middle = (0, 0, 6, 6), (24, 16, 40, 32)
    assert difference(ripe.crop(corner), unripe.crop(corner)) < 12
    assert difference(ripe.crop(middle), unripe.crop(middle)) > 20


@pytest.mark.parametrize("conditions", [FIELD, HELD_OUT, STUDIO], ids=["field", "held-out", "studio"])
@pytest.mark.parametrize("kind", list(FruitKind))
@pytest.mark.parametrize("size", [(80, 60), (60, 80), (33, 33)])
def test_every_kind_is_drawn_in_any_shape(kind: FruitKind, size: tuple[int, int], conditions: Conditions) -> None:
    picture = draw_fruit(np.random.default_rng(5), kind=kind, ripe=False, size=size, conditions=conditions)
    assert (picture.size, picture.mode) == (size, "RGB")


@pytest.mark.parametrize("background", sorted({*FIELD.backgrounds, *HELD_OUT.backgrounds, *STUDIO.backgrounds}))
def test_every_background_can_be_painted(background: str) -> None:
    conditions = Conditions(backgrounds=(background,), fruits_max=3, occlusion_chance=1.0)
    picture = draw_fruit(
        np.random.default_rng(6), kind=FruitKind.MANGO, ripe=True, size=(80, 60), conditions=conditions
    )
    assert max(ImageStat.Stat(picture).stddev) > 5


def test_devices_get_a_jpeg_of_the_size_they_ask_for() -> None:
    picture = Image.open(io.BytesIO(fruit_jpeg(7, kind=FruitKind.TOMATO, ripe=True, size=(160, 120))))
    assert (picture.format, picture.size) == ("JPEG", (160, 120))


def test_every_device_seed_gives_another_jpeg() -> None:
    first, second = (fruit_jpeg(seed, kind=FruitKind.APPLE, ripe=True, size=(64, 48)) for seed in (1, 2))
    assert first != second


def test_training_and_unseen_pictures_share_no_randomness() -> None:
    starts = {generator(stream, number).integers(2**62) for stream in Stream for number in range(50)}
    assert len(starts) == 50 * len(Stream)


def test_training_shows_neither_cloth_nor_conveyor() -> None:
    assert set(HELD_OUT.backgrounds) - set(FIELD.backgrounds) == {"cloth", "conveyor"}


def test_subjects_are_balanced_over_kinds_and_labels() -> None:
    subjects = [subject(number) for number in range(10 * len(FruitKind))]
    assert {subjects.count(one) for one in set(subjects)} == {len(subjects) // (len(FruitKind) * len(LABELS))}


def test_committed_examples_are_what_the_script_draws(tmp_path: Path) -> None:
    draw_examples(tmp_path)
    assert sorted(path.name for path in (ROOT / "examples").iterdir()) == sorted(example.name for example in EXAMPLES)
    for example in EXAMPLES:
        drawn, committed = Image.open(tmp_path / example.name), Image.open(ROOT / "examples" / example.name)
        # Not byte for byte: encoders and the last bit of a float differ between versions.
        assert difference(drawn, committed) < 3, example.name


def test_pictures_need_only_pillow_and_numpy() -> None:
    imported = set()
    for path in (ROOT / "gateway" / "simulators" / "fruit").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom):
                imported.add(node.module or "")
            elif isinstance(node, ast.Import):
                imported.update(alias.name for alias in node.names)
    foreign = {
        name
        for name in imported
        if name.split(".")[0] not in sys.stdlib_module_names and not name.startswith("gateway.simulators.fruit")
    }
    assert foreign <= {"PIL", "numpy", "numpy.typing"}

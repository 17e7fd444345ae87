"""A short run of each fuzzing target: its corpus, and some hundred changes of it, the same each time."""

import itertools
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fuzz.mutations import mutated
from tests.fuzz.targets import TARGETS

ROOT = Path(__file__).resolve().parents[2]
CHANGES = {"image": 300, "settings": 60, "ble": 150}
CHANGES_OTHERS = 1000
SEED = 20261129


@pytest.mark.parametrize("name", TARGETS)
def test_corpus_and_changes_of_it_find_nothing(name: str) -> None:
    target = TARGETS[name]
    examples = target.examples()
    assert examples
    count = CHANGES.get(name, CHANGES_OTHERS)
    changes = itertools.islice(mutated(examples, bytes_max=target.bytes_max, seed=SEED), count)
    for data in (*examples, *changes):
        target.run(data)


def test_a_finding_is_kept_and_ends_with_status_1(tmp_path: Path) -> None:
    planted = "import tests.fuzz.__main__ as fuzz\nfrom tests.fuzz.targets import TARGETS, Target\n"
    planted += "def run(data):\n    assert data.count(0) < 3\n"
    planted += "fuzz.TARGETS = {'planted': Target(run=run, seeds=TARGETS['mqtt'].seeds)}\n"
    arguments = ["--minutes", "0.2", "--random", "--keep", str(tmp_path)]
    done = subprocess.run(
        [sys.executable, "-c", planted + "raise SystemExit(fuzz.main())", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1, done.stdout + done.stderr
    (kept,) = tmp_path.iterdir()
    assert kept.read_bytes().count(0) >= 3

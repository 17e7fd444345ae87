"""``gateway classify IMAGE...``: try a model on files, without a running gateway and without storing anything."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from gateway.commands.options import ConfigOption, JsonOption, SetOption, load
from gateway.errors import Rejected
from gateway.messages import Classification
from gateway.settings import Settings

FAILED = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What became of one file."""

    file: Path
    classification: Classification | None
    error: str


def classify(
    images: Annotated[list[Path], typer.Argument(help="Picture files.")],
    config: ConfigOption = None,
    sets: SetOption = None,
    *,
    as_json: JsonOption = False,
) -> None:
    """Classify picture files with the configured model; exit code 1 when any could not be."""
    from rich.console import Console
    from rich.progress import track

    settings = load(config, sets)
    steps = track(
        _answers(settings, images), "classifying", total=len(images), console=Console(stderr=True), transient=True
    )
    answers = list(steps)
    if as_json:
        for answer in answers:
            typer.echo(_json(answer))
    else:
        _print_table(answers)
    if any(answer.classification is None for answer in answers):
        raise typer.Exit(FAILED)


def _answers(settings: Settings, images: list[Path]) -> Iterator[Answer]:
    from gateway.limits import derive_limits
    from gateway.machine import usable_cores
    from gateway.vision.picture_classifier import load_picture_classifier

    limits = derive_limits(settings, usable_cores())
    classifier = load_picture_classifier(settings.model, pixels_max=limits.pixels_max)
    for file in images:
        try:
            yield Answer(file=file, classification=classifier.classify_bytes(file.read_bytes()), error="")
        except OSError as error:
            yield Answer(file=file, classification=None, error=f"{error.strerror}")
        except Rejected as error:
            yield Answer(file=file, classification=None, error=f"{error.detail}; {error.cure}")


def _json(answer: Answer) -> str:
    found = answer.classification
    if found is None:
        return json.dumps({"file": str(answer.file), "error": answer.error})
    return json.dumps(
        {
            "file": str(answer.file),
            "predictions": [{"label": p.label, "probability": p.probability} for p in found.predictions],
            "model": found.model.name,
            "inference_ms": found.inference_ms,
        }
    )


def _print_table(answers: list[Answer]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table("file", "label", "probability", "ms", box=None, pad_edge=False)
    for answer in answers:
        found = answer.classification
        if found is None:
            table.add_row(str(answer.file), Text(answer.error, style="red"), "", "")
            continue
        best = max(found.predictions, key=lambda p: p.probability)
        spent = found.decode_ms + found.preprocess_ms + found.inference_ms
        table.add_row(str(answer.file), Text(best.label), f"{best.probability:.1%}", f"{spent:.1f}")
    Console().print(table)

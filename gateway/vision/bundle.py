"""A model bundle: model, labels and pre-processing, checked to fit each other and tried once.

Nothing here is guessed in silence: the source of the pre-processing is part of the bundle and is shown at start and by
``gateway model inspect``.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path

from gateway.messages import ModelIdentity
from gateway.settings import ModelSettings
from gateway.vision.bundle_toml import BundleToml, parse_bundle_toml
from gateway.vision.labels import fit_labels, labels_bytes, parse_labels
from gateway.vision.model_files import read_model_files
from gateway.vision.model_task import refuse_detection_export, refuse_other_tasks
from gateway.vision.preprocessing import Preprocessing
from gateway.vision.preprocessing_choice import Override, Source, choose, chosen_shape
from gateway.vision.runtime import Choice, Engine, Runtime, load_runtime
from gateway.vision.tflite_file import check_whole, read_metadata
from gateway.vision.trial import needs_trial, try_apart


@dataclass(frozen=True, slots=True, kw_only=True)
class BundleDescription:
    """A bundle for people: the start banner and ``gateway model inspect``."""

    where: str
    identity: ModelIdentity
    labels: tuple[str, ...]
    input: str
    output: str
    preprocessing: str
    source: Source
    reason: str
    softmax: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Bundle:
    """A model that can be served. ``labels`` has one entry for each value of the model's output."""

    model: bytes
    identity: ModelIdentity
    labels: tuple[str, ...]
    input_shape: tuple[int, ...] | None
    preprocessing: Preprocessing
    softmax: bool
    description: BundleDescription

    def engine(self, runtime: Runtime) -> Engine:
        """Return a new engine for this model."""
        return runtime.engine(self.model, input_shape=self.input_shape)


def load_bundle(path: Path, *, runtime: Runtime, name: str = "", preprocessing: Override = "auto") -> Bundle:
    """Return the bundle at ``path``, after running the model once. Raises BundleInvalid with the cure."""
    files = read_model_files(path)
    refuse_detection_export(files.manifest)
    check_whole(files.model)
    said = BundleToml() if files.bundle_toml is None else parse_bundle_toml(files.bundle_toml)
    metadata = read_metadata(files.model)
    engine = runtime.engine(files.model)
    refuse_other_tasks(engine, files)
    input_shape = chosen_shape(engine.inputs[0], said)
    if input_shape is not None:
        engine = runtime.engine(files.model, input_shape=input_shape)
    prepared, source, reason = choose(engine.inputs[0], said, metadata, files, preprocessing)
    label_file = labels_bytes(files, metadata)
    if needs_trial(engine):
        try_apart(files.model, runtime=runtime, input_shape=input_shape)
    output = runtime.try_once(engine)
    labels = fit_labels(parse_labels(label_file), output.size, said)
    identity = ModelIdentity(
        name=name or said.name or files.name,
        model_sha256=hashlib.sha256(files.model).hexdigest(),
        labels_sha256=hashlib.sha256(label_file).hexdigest(),
        runtime=runtime.name,
    )
    description = BundleDescription(
        where=files.where,
        identity=identity,
        labels=labels,
        input=engine.inputs[0].describe(),
        output=engine.outputs[0].describe(),
        preprocessing=prepared.describe(),
        source=source,
        reason=reason,
        softmax=said.softmax,
    )
    return Bundle(
        model=files.model,
        identity=identity,
        labels=labels,
        input_shape=input_shape,
        preprocessing=prepared,
        softmax=said.softmax,
        description=description,
    )


def load_model(settings: ModelSettings) -> tuple[Bundle, Runtime]:
    """Return what ``settings`` name. Raises BundleInvalid."""
    runtime = load_runtime(settings.runtime)
    return (
        load_bundle(settings.path, runtime=runtime, name=settings.name, preprocessing=settings.preprocessing),
        runtime,
    )


def inspect_bundle(
    path: Path, *, runtime: Choice = "auto", preprocessing: Override = "auto", name: str = ""
) -> BundleDescription:
    """Return what the bundle at ``path`` is, after running it once. Raises BundleInvalid."""
    return load_bundle(path, runtime=load_runtime(runtime), name=name, preprocessing=preprocessing).description

"""What a result is as text: exact on the way back, and the same when most of it is only passed on."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.messages import Classification, ModelIdentity, Prediction
from gateway.result_text import result_from_text, result_text, told_classification

texts = st.text(st.characters(codec="utf-8")) | st.sampled_from(['x,"timings_ms":{"decode":1}', '{"predictions":'])
classes = st.lists(st.tuples(texts, st.floats(0, 1)))


def classification(classes: list[tuple[str, float]], name: str = "m") -> Classification:
    return Classification(
        predictions=tuple(Prediction(label=label, probability=probability) for label, probability in classes),
        model=ModelIdentity(name=name, model_sha256="aa", labels_sha256="bb", runtime="litert"),
        image_format="PNG",
        image_width=1,
        image_height=2,
        decode_ms=0.12345,
        preprocess_ms=0.2,
        inference_ms=3,
    )


@given(classes, texts)
def test_probabilities_and_labels_come_back_exactly(classes: list[tuple[str, float]], name: str) -> None:
    result = classification(classes, name)
    assert result_from_text("classification", result_text(result)) == result


@given(classes, texts)
def test_what_is_told_is_what_was_stored(classes: list[tuple[str, float]], name: str) -> None:
    result = classification(classes, name)
    members, label = told_classification(result_text(result))
    assert label == result.top_label
    assert json.loads("{" + members + "}") == {
        "predictions": [{"label": label, "probability": probability} for label, probability in classes],
        "model": {"name": name, "sha256": "aa", "labels_sha256": "bb", "runtime": "litert"},
        "image": {"format": "PNG", "width": 1, "height": 2},
        "timings": {"decode_ms": 0.123, "preprocess_ms": 0.2, "inference_ms": 3},
    }


@pytest.mark.parametrize(
    "broken",
    [
        "",
        "{}",
        '{"predictions":[{"label":"a","probability":NaN}],"timings_ms":{}}',
        '{"predictions":[1],"timings_ms":{}}',
        '{"predictions":[],"timings_ms":[]}',
        '{"predictions":[],"timings_ms":{"decode":"x"}}',
    ],
)
def test_what_we_did_not_write_is_not_told(broken: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        told_classification(broken)

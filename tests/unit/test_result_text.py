"""What a result is as text: exact on the way back, and the same when most of it is only passed on."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.messages import Classification, ModelIdentity, Prediction
from gateway.result_text import label_told, result_from_text, result_text, told_classification

texts = st.text(st.characters(codec="utf-8")) | st.sampled_from(['x,"timings_ms":{"decode":1}', '{"predictions":'])
classes = st.lists(st.tuples(texts, st.floats(0, 1)))


# Those of a picture that was classified have three decimals.
times = st.floats(0, 1e6) | st.floats(0, 1e6).map(lambda ms: round(ms, 3))


def classification(classes: list[tuple[str, float]], name: str = "m", decode_ms: float = 0.12345) -> Classification:
    return Classification(
        predictions=tuple(Prediction(label=label, probability=probability) for label, probability in classes),
        model=ModelIdentity(name=name, model_sha256="aa", labels_sha256="bb", runtime="litert"),
        image_format="PNG",
        image_width=1,
        image_height=2,
        decode_ms=decode_ms,
        preprocess_ms=0.2,
        inference_ms=3,
    )


@given(classes, texts)
def test_probabilities_and_labels_come_back_exactly(classes: list[tuple[str, float]], name: str) -> None:
    result = classification(classes, name)
    assert result_from_text("classification", result_text(result)) == result


@given(classes, texts, times)
def test_what_is_told_is_what_was_stored(classes: list[tuple[str, float]], name: str, decode_ms: float) -> None:
    result = classification(classes, name, decode_ms)
    members = told_classification(result_text(result))
    assert label_told('{"sequence":1,' + members + "}") == result.top_label
    assert json.loads("{" + members + "}") == {
        "predictions": [{"label": label, "probability": probability} for label, probability in classes],
        "model": {"name": name, "sha256": "aa", "labels_sha256": "bb", "runtime": "litert"},
        "image": {"format": "PNG", "width": 1, "height": 2},
        "timings": {"decode_ms": round(decode_ms, 3), "preprocess_ms": 0.2, "inference_ms": 3},
    }


# What a picture's row holds: told without looking at more than its shape.
WHOLE = result_text(classification([("a", 0.25), ("b", 0.75), ("c", 1e-07)], decode_ms=3.25))


def test_first_of_equal_labels_is_the_top_one() -> None:
    result = classification([("a", 0.25), ("b", 0.375), ("c", 0.375)])
    assert label_told('{"sequence":1,' + told_classification(result_text(result)) + "}") == "b"


@pytest.mark.parametrize(
    "broken",
    [
        "",
        "{}",
        '{"predictions":[{"label":"a","probability":NaN}],"timings_ms":{}}',
        '{"predictions":[1],"timings_ms":{}}',
        '{"predictions":[],"timings_ms":[]}',
        '{"predictions":[],"timings_ms":{"decode":"x"}}',
        WHOLE.replace("0.75", "NaN"),
        WHOLE.replace("0.75", "+1"),
        WHOLE.replace("0.75", "\u0661"),  # a digit, but none of JSON's
        WHOLE.replace('"b"', '"b\n"'),
        WHOLE.replace('"b"', "b"),
        WHOLE.replace("3.25", "NaN"),
        WHOLE.replace("0.75", "00.75"),
        WHOLE.replace("3.25", "03.25"),
    ],
)
def test_what_we_did_not_write_is_not_told(broken: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        told_classification(broken)

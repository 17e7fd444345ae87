import json
from datetime import UTC, datetime

import pytest

from adapters.http import documents
from adapters.http.faces import Face, refusal
from gateway.errors import ImageDamaged, OutboxFull, Unavailable
from gateway.messages import CommittedItem, Receipt
from tests.fakes.intake import EPOCH, RIPE

ITEM = CommittedItem(
    epoch=EPOCH,
    sequence=7,
    item_id="s-1",
    received_at=datetime(2026, 5, 4, 8, 30, 0, 123456, tzinfo=UTC),
    id_reused=False,
    result=RIPE,
)
RECEIPT = Receipt(submission_id="s-1", device_id="cam", duplicate=False, items=(ITEM,))


def test_custom_vision_answer_is_the_containers_byte_for_byte() -> None:
    assert documents.encoded(documents.custom_vision(RECEIPT)) == (
        b'{"created":"2026-05-04T08:30:00.123456","id":"","iteration":"","predictions":'
        b'[{"boundingBox":null,"probability":0.99956155,"tagId":"","tagName":"ripe"},'
        b'{"boundingBox":null,"probability":0.00043845,"tagId":"","tagName":"unripe"}],"project":""}'
    )


def test_image_receipt_says_which_model_spoke_and_how_long_it_took() -> None:
    document = documents.image_receipt(RECEIPT)
    assert document["sequence"] == 7
    assert document["received_at"] == "2026-05-04T08:30:00.123456Z"
    assert document["clock"] == "unsynced"
    assert document["model"] == {
        "name": "fruit",
        "model_sha256": "a" * 64,
        "labels_sha256": "b" * 64,
        "runtime": "fake",
    }
    assert document["timings"] == {"decode_ms": 2.5, "preprocess_ms": 0.5, "inference_ms": 7.25}


def test_problem_and_text_say_the_same() -> None:
    error = ImageDamaged("the JPEG ends in the middle")
    problem = documents.problem(error)
    text = documents.problem_text(error)
    for key in ("title", "status", "detail", "reason", "hint"):
        assert str(problem[key]) in text


@pytest.mark.parametrize("face", list(Face))
def test_every_face_tells_when_to_come_back(face: Face) -> None:
    answer = refusal(OutboxFull("full"), face)
    assert answer.status_code == 503
    assert answer.headers["retry-after"] == "60"


@pytest.mark.parametrize(("seconds", "told"), [(0.0, "1"), (0.2, "1"), (1.5, "2"), (60.0, "60")])
def test_retry_after_is_a_whole_second_or_more(seconds: float, told: str) -> None:
    assert refusal(Unavailable("later", retry_after_s=seconds), Face.LEGACY).headers["retry-after"] == told


def test_hosted_face_answers_code_and_message() -> None:
    body = json.loads(bytes(refusal(ImageDamaged("cut off"), Face.CLOUD).body))
    assert body["code"] == "image_damaged"
    assert body["message"].startswith("cut off")

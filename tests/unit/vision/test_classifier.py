"""The pool of interpreters behind the Classifier port."""

import asyncio
import concurrent.futures
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from gateway.errors import ImageDamaged, IntakeFull, NotAnImage, ProcessingFailed, Rejected, Stopping, TooManyPixels
from gateway.messages import Classification, Image
from gateway.metrics import Metrics
from gateway.settings import ModelSettings
from gateway.vision.classifier import TfliteClassifier, load_classifier
from gateway.vision.picture_classifier import PictureClassifier, load_picture_classifier
from tests.unit.vision.models import BGR_LABELS, RUNTIMES, picture, runtime_or_skip, write_bundle


class Pool:
    """A running classifier whose pictures can be held in their worker."""

    def __init__(self, folder: Path, *, workers: int = 2, queue_max: int = 100, pixels_max: int = 10**6) -> None:
        self.metrics = Metrics()
        self.settings = ModelSettings(path=write_bundle(folder, "float32", labels=BGR_LABELS))
        self.classifier: TfliteClassifier = load_classifier(
            self.settings, workers=workers, pixels_max=pixels_max, meter=self.metrics, queue_max=queue_max
        )


@pytest.fixture
def pool(tmp_path: Path) -> Iterator[Pool]:
    made = Pool(tmp_path / "model")
    yield made
    made.classifier.close()


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """Holds every picture in its worker until it is set."""
    opened = threading.Event()
    real = PictureClassifier.classify_timed

    def held(self: PictureClassifier, data: bytes) -> object:
        opened.wait(timeout=30)
        return real(self, data)

    monkeypatch.setattr(PictureClassifier, "classify_timed", held)
    yield opened
    opened.set()


def best(answer: Classification) -> str:
    return max(answer.predictions, key=lambda prediction: prediction.probability).label


async def test_classifies_and_says_which_model_and_how_long(pool: Pool) -> None:
    answer = await pool.classifier.classify(Image(data=picture("red", size=(64, 48), file_format="JPEG")))
    assert best(answer) == "red"
    assert (answer.image_format, answer.image_width, answer.image_height) == ("jpeg", 64, 48)
    assert answer.model == pool.classifier.model
    assert min(answer.decode_ms, answer.preprocess_ms, answer.inference_ms) > 0


async def test_stages_are_measured(pool: Pool) -> None:
    await pool.classifier.classify(Image(data=picture("red")))
    text = pool.metrics.exposition().decode()
    for stage in ("wait", "decode", "preprocess", "inference"):
        assert f'gateway_classify_seconds_count{{stage="{stage}"}} 1.0' in text


@pytest.mark.parametrize("runtime", RUNTIMES)
async def test_results_never_mix_between_16_concurrent_clients(runtime: str, tmp_path: Path) -> None:
    runtime_or_skip(runtime)  # type: ignore[arg-type]  # RUNTIMES holds its literals
    settings = ModelSettings(path=write_bundle(tmp_path, "float32", labels=BGR_LABELS), runtime=runtime)  # type: ignore[arg-type]
    pictures = [
        picture((client * 16, 255 - client * 16, (client * 37) % 256), size=(40 + client, 30), file_format="JPEG")
        for client in range(16)
    ]
    alone = load_picture_classifier(settings, pixels_max=10**6)
    expected = [alone.classify_bytes(data).predictions for data in pictures]
    assert len(set(expected)) == 16, "the pictures must be told apart for this to prove anything"
    classifier = load_classifier(settings, workers=3, pixels_max=10**6, meter=Metrics())

    async def client(number: int) -> list[bool]:
        answers = [await classifier.classify(Image(data=pictures[number])) for _ in range(20)]
        return [answer.predictions == expected[number] for answer in answers]

    try:
        for outcome in await asyncio.gather(*(client(number) for number in range(16))):
            assert all(outcome)
    finally:
        await asyncio.to_thread(classifier.close)


async def test_every_interpreter_stays_with_its_thread(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    used: set[tuple[int, int]] = set()
    real = PictureClassifier.classify_timed

    def noted(self: PictureClassifier, data: bytes) -> object:
        used.add((threading.get_ident(), id(self)))
        return real(self, data)

    monkeypatch.setattr(PictureClassifier, "classify_timed", noted)
    await asyncio.gather(*(pool.classifier.classify(Image(data=picture("red"))) for _ in range(40)))
    assert threading.get_ident() not in {thread for thread, _ in used}
    assert len({thread for thread, _ in used}) == len({engine for _, engine in used}) == len(used)


async def test_bad_pictures_are_rejected_and_the_rest_goes_on(pool: Pool) -> None:
    damaged = picture("red", size=(200, 200), file_format="JPEG")[:-300]
    answers = await asyncio.gather(
        pool.classifier.classify(Image(data=b"hello")),
        pool.classifier.classify(Image(data=damaged)),
        pool.classifier.classify(Image(data=picture("red", size=(1001, 1000)))),
        pool.classifier.classify(Image(data=picture("blue"))),
        return_exceptions=True,
    )
    assert [type(answer) for answer in answers[:3]] == [NotAnImage, ImageDamaged, TooManyPixels]
    assert isinstance(answers[3], Classification)


async def test_an_error_of_ours_rejects_that_picture_with_a_reference(
    pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_given: object) -> object:
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr("gateway.vision.picture_classifier.preprocess", broken)
    with capture_logs() as logs, pytest.raises(ProcessingFailed) as failed:
        await pool.classifier.classify(Image(data=picture("red")))
    (entry,) = [log for log in logs if log["event"] == "picture_failed"]
    assert entry["reference"] in failed.value.detail
    assert len(entry["sha256"]) == 64
    assert isinstance(failed.value, Rejected)
    monkeypatch.undo()
    assert best(await pool.classifier.classify(Image(data=picture("red")))) == "red"


async def test_a_model_that_answers_nan_rejects_the_picture(tmp_path: Path) -> None:
    settings = ModelSettings(path=write_bundle(tmp_path, "not_a_number"))
    classifier = load_classifier(settings, workers=1, pixels_max=10**6, meter=Metrics())
    try:
        with capture_logs(), pytest.raises(ProcessingFailed):
            await classifier.classify(Image(data=picture("red")))
    finally:
        classifier.close()


async def test_a_full_queue_is_unavailable(tmp_path: Path, gate: threading.Event) -> None:
    pool = Pool(tmp_path, workers=1, queue_max=2)
    waiting = [asyncio.create_task(pool.classifier.classify(Image(data=picture("red")))) for _ in range(3)]
    await asyncio.sleep(0)
    with pytest.raises(IntakeFull):
        await pool.classifier.classify(Image(data=picture("red")))
    gate.set()
    await asyncio.gather(*waiting)
    assert best(await pool.classifier.classify(Image(data=picture("red")))) == "red"
    pool.classifier.close()


async def test_cancelled_clients_break_nothing(tmp_path: Path, gate: threading.Event) -> None:
    pool = Pool(tmp_path, workers=1)
    waiting = [asyncio.create_task(pool.classifier.classify(Image(data=picture("red")))) for _ in range(5)]
    await asyncio.sleep(0.01)
    for task in waiting[:4]:  # the first is in its worker, the others in the queue
        task.cancel()
    outcomes = await asyncio.gather(*waiting[:4], return_exceptions=True)
    assert all(isinstance(outcome, asyncio.CancelledError) for outcome in outcomes)
    gate.set()
    assert best(await waiting[4]) == "red"
    assert best(await pool.classifier.classify(Image(data=picture("blue")))) == "blue"
    pool.classifier.close()


async def test_close_cancels_the_queue_and_lets_the_workers_finish(tmp_path: Path, gate: threading.Event) -> None:
    pool = Pool(tmp_path, workers=1)
    running = asyncio.create_task(pool.classifier.classify(Image(data=picture("red"))))
    await asyncio.sleep(0.01)
    queued = asyncio.create_task(pool.classifier.classify(Image(data=picture("red"))))
    await asyncio.sleep(0.01)
    closing = asyncio.create_task(asyncio.to_thread(pool.classifier.close))
    with pytest.raises(Stopping):
        await queued
    gate.set()
    await closing
    assert best(await running) == "red"
    with pytest.raises(Stopping):
        await pool.classifier.classify(Image(data=picture("red")))
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("classifier")]


async def test_close_is_bounded_when_a_worker_hangs(tmp_path: Path, gate: threading.Event) -> None:
    pool = Pool(tmp_path, workers=1)
    hanging = asyncio.create_task(pool.classifier.classify(Image(data=picture("red"))))
    await asyncio.sleep(0.01)
    with capture_logs() as logs:
        await asyncio.to_thread(pool.classifier.close, 0.05)
    assert [log["event"] for log in logs] == ["classifier_left_running"]
    gate.set()
    await hanging


async def test_pictures_in_decoding_share_one_budget(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pool = Pool(tmp_path, workers=4, pixels_max=100 * 100)
    decoding, most, lock = 0, 0, threading.Lock()
    real = PictureClassifier._to_tensor

    def counted(self: PictureClassifier, header: object) -> object:
        nonlocal decoding, most
        with lock:
            decoding += 1
            most = max(most, decoding)
        try:
            return real(self, header)  # type: ignore[arg-type]  # handed on as it came
        finally:
            with lock:
                decoding -= 1

    monkeypatch.setattr(PictureClassifier, "_to_tensor", counted)
    large = picture("red", size=(100, 100))
    await asyncio.gather(*(pool.classifier.classify(Image(data=large)) for _ in range(30)))
    assert most == 1
    pool.classifier.close()


def test_one_thread_classifies_without_an_event_loop(tmp_path: Path) -> None:
    settings = ModelSettings(path=write_bundle(tmp_path, "float32", labels=BGR_LABELS))
    assert best(load_picture_classifier(settings, pixels_max=10**6).classify_bytes(picture("blue"))) == "blue"


def test_classifiers_live_in_any_number_of_event_loops(pool: Pool) -> None:
    for _ in range(2):
        assert best(asyncio.run(pool.classifier.classify(Image(data=picture("blue"))))) == "blue"


def test_workers_are_real_threads_of_the_stated_number(tmp_path: Path, gate: threading.Event) -> None:
    pool = Pool(tmp_path, workers=3)
    with concurrent.futures.ThreadPoolExecutor(8) as clients:
        jobs = [
            clients.submit(lambda: asyncio.run(pool.classifier.classify(Image(data=picture("red"))))) for _ in range(8)
        ]
        while sum(thread.name.startswith("classifier") for thread in threading.enumerate()) < 3:
            concurrent.futures.wait(jobs, timeout=0.01)
        gate.set()
        assert {best(job.result()) for job in jobs} == {"red"}
    assert sum(thread.name.startswith("classifier") for thread in threading.enumerate()) == 3
    pool.classifier.close()

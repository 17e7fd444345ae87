"""The real Classifier: worker threads with an interpreter each, off the event loop.

Invariants: an interpreter is used by one thread only, so that results never mix; decoding, pre-processing and
inference of a picture happen in that thread; the queue and the decoded pixels are bounded; one bad picture is that
picture's problem only.
"""

import asyncio
import concurrent.futures
import hashlib
import secrets
import threading
from dataclasses import dataclass
from functools import partial
from queue import SimpleQueue
from time import perf_counter

import structlog

from gateway.errors import GatewayError, IntakeFull, ProcessingFailed, Stopping
from gateway.messages import Classification, Image, ModelIdentity
from gateway.ports import Meter
from gateway.settings import ModelSettings
from gateway.vision.bundle import Bundle, BundleDescription, load_model
from gateway.vision.picture_classifier import PictureClassifier, Timed
from gateway.vision.pixel_budget import PixelBudget
from gateway.vision.runtime import Runtime

_log = structlog.get_logger(__name__)

# Jobs beyond the workers: more would only wait longer than a client does. The intake's own bound is usually lower.
QUEUE_MAX_DEFAULT = 256


def load_classifier(
    settings: ModelSettings, *, workers: int, pixels_max: int, meter: Meter, queue_max: int = QUEUE_MAX_DEFAULT
) -> "TfliteClassifier":
    """Return a running classifier for the model of ``settings``. Blocks for a second. Raises BundleInvalid."""
    bundle, runtime = load_model(settings)
    classifier = TfliteClassifier(
        bundle=bundle, runtime=runtime, workers=workers, pixels_max=pixels_max, meter=meter, queue_max=queue_max
    )
    classifier.start()
    return classifier


class TfliteClassifier:
    """Implements ports.Classifier. ``pixels_max`` bounds one picture, and all pictures in decoding together."""

    def __init__(
        self,
        *,
        bundle: Bundle,
        runtime: Runtime,
        workers: int,
        pixels_max: int,
        meter: Meter,
        queue_max: int = QUEUE_MAX_DEFAULT,
    ) -> None:
        assert workers >= 1, "derive the number of workers before building"
        self._bundle = bundle
        self._runtime = runtime
        self._workers = workers
        self._pixels_max = pixels_max
        self._meter = meter
        self._jobs_max = workers + queue_max
        self._jobs: set[_Job] = set()  # under _counting: workers and the event loop change it
        self._counting = threading.Lock()
        self._own = threading.local()
        self._pool: concurrent.futures.ThreadPoolExecutor | None = None

    @property
    def model(self) -> ModelIdentity:
        """Return which model is loaded."""
        return self._bundle.identity

    @property
    def is_backed_up(self) -> bool:
        """Whether pictures wait for a worker, so that others will follow those that are done."""
        return len(self._jobs) > self._workers

    @property
    def description(self) -> BundleDescription:
        """Return the bundle for people."""
        return self._bundle.description

    def start(self) -> None:
        """Return when every worker's interpreter is ready. Blocks: call it off the event loop. Raises BundleInvalid."""
        assert self._pool is None, "started twice"
        self._pool = self._build_pool()

    def close(self, deadline_s: float = 5.0) -> None:
        """Refuse new pictures, cancel the waiting, and return when the workers are done or ``deadline_s`` is over.

        Blocks: call it off the event loop. Safe to call twice. A picture takes a second at most, so that the deadline
        is for machines that swap.
        """
        pool, self._pool = self._pool, None
        if pool is None:
            return
        pool.shutdown(wait=False, cancel_futures=True)
        with self._counting:
            under_way = set(self._jobs)
        _done, left = concurrent.futures.wait(under_way, deadline_s)
        if left:
            _log.warning("classifier_left_running", pictures=len(left), deadline_s=deadline_s)
        else:
            pool.shutdown(wait=True)  # the threads are idle: they end at once

    async def classify(self, image: Image) -> Classification:
        """Return what the model says. Raises Rejected, IntakeFull, Stopping. Cancelling gives up a queued picture."""
        if self._pool is None:
            raise Stopping("the classifier is not running")
        if len(self._jobs) >= self._jobs_max:
            raise IntakeFull(f"{len(self._jobs)} pictures are waiting to be classified")
        return await self._outcome(self._submit(self._pool, image.data), image.data)

    def _submit(self, pool: concurrent.futures.ThreadPoolExecutor, data: bytes) -> "asyncio.Future[_Done]":
        job = pool.submit(self._work, data, perf_counter())
        with self._counting:
            self._jobs.add(job)
        job.add_done_callback(self._forget)
        return asyncio.wrap_future(job)

    async def _outcome(self, job: "asyncio.Future[_Done]", data: bytes) -> Classification:
        try:
            # Not `await job`: whatever a picture provoked is told apart below, without a broad except.
            await asyncio.wait((job,))
        finally:
            job.cancel()  # we were cancelled: a picture still in the queue is given up; harmless when done
        if job.cancelled():
            raise Stopping("the gateway stopped before it came to this picture")
        error = job.exception()
        if error is None:
            return self._measured(job.result())
        if isinstance(error, (GatewayError, concurrent.futures.BrokenExecutor)):
            raise error  # a broken pool is no picture's fault: crash-only
        reference = secrets.token_hex(4)
        sha256 = hashlib.sha256(data).hexdigest()
        _log.error("picture_failed", reference=reference, sha256=sha256, byte_count=len(data), exc_info=error)
        raise ProcessingFailed(f"the picture could not be processed (reference {reference})") from error

    def _measured(self, done: "_Done") -> Classification:
        observe = partial(self._meter.observe, "gateway_classify_seconds")
        classification = done.timed.classification
        observe(done.queue_s + done.timed.budget_wait_ms / 1000, stage="wait")
        observe(classification.decode_ms / 1000, stage="decode")
        observe(classification.preprocess_ms / 1000, stage="preprocess")
        observe(classification.inference_ms / 1000, stage="inference")
        return classification

    # --- in the workers' threads ----------------------------------------------------------------------

    def _work(self, data: bytes, submitted: float) -> "_Done":
        queue_s = perf_counter() - submitted
        worker: PictureClassifier = self._own.classifier
        return _Done(timed=worker.classify_timed(data), queue_s=queue_s)

    def _forget(self, job: "_Job") -> None:
        with self._counting:
            self._jobs.discard(job)

    def _build_pool(self) -> concurrent.futures.ThreadPoolExecutor:
        budget = PixelBudget(pixels_max=self._pixels_max)
        ready: SimpleQueue[PictureClassifier] = SimpleQueue()
        for _ in range(self._workers):
            ready.put(
                PictureClassifier(
                    bundle=self._bundle, runtime=self._runtime, pixels_max=self._pixels_max, budget=budget
                )
            )

        def adopt() -> None:
            self._own.classifier = ready.get_nowait()

        return concurrent.futures.ThreadPoolExecutor(
            max_workers=self._workers, thread_name_prefix="classifier", initializer=adopt
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Done:
    timed: Timed
    queue_s: float


_Job = concurrent.futures.Future[_Done]

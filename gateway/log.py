"""Logging: structlog and the standard library's loggers through one chain to one stream.

Human lines on a terminal, JSON lines otherwise. Whatever the caller passes, a line holds no secrets (redacted by
shape and by field name), no bytes (``<N bytes>``), no control characters, and is bounded in length. Lines of a kind are
bounded in number (``log_flood``), but for the level debug. Times are UTC.
"""

import contextlib
import logging
import sys
import time
from collections.abc import Mapping
from typing import Any, Literal, TextIO

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from gateway.log_flood import FloodGate
from gateway.printable import block, one_line
from gateway.redaction import HIDDEN, is_secret_name, redact

# A field is for a value, not for a document: a device that sends 8 MiB of text must not fill the card with it.
_TEXT_LENGTH_MAX = 2_000
# Tracebacks are long and ours; their end says most.
_TRACEBACK_LENGTH_MAX = 16_000
_DEPTH_MAX = 4
_ITEMS_MAX = 50

# Multi-line by nature; the human renderer indents them, JSON escapes them.
_BLOCKS = frozenset({"exception", "stack"})


def configure_logging(
    log_format: Literal["auto", "human", "json"],
    log_level: Literal["debug", "info", "warning", "error"],
    *,
    stream: TextIO | None = None,
) -> None:
    """Send every log line of the process to ``stream`` (default: standard error). May be called again.

    ``auto`` is human on a terminal, JSON lines otherwise. Python's warnings become log lines too.
    """
    out = sys.stderr if stream is None else stream
    human = log_format == "human" or (log_format == "auto" and out.isatty())
    # Who asks for debug wants each submission's steps, and watches.
    handler = BoundedHandler(out, is_bounded=log_level != "debug")
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=_chain(),
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *_renderer(human, out)],
        )
    )
    root = logging.getLogger()
    for old in _bounded_handlers():
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(log_level.upper())
    logging.captureWarnings(capture=True)
    # A form that can't be read is its sender's matter: answered and counted, and no line for each.
    logging.getLogger("python_multipart").setLevel(logging.ERROR)
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *_chain(),
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        # Loggers are made at import, before this: caching would freeze them as they were.
        cache_logger_on_first_use=False,
    )


class BoundedHandler(logging.StreamHandler[TextIO]):
    """Writes lines, and how many were left out where there were too many of a kind."""

    def __init__(self, stream: TextIO, *, is_bounded: bool) -> None:
        super().__init__(stream)
        self._is_bounded = is_bounded
        self._gate = FloodGate()
        self._reporter = structlog.get_logger(__name__)

    def handle(self, record: logging.LogRecord) -> bool:
        """Write one line, or count it."""
        if record.name == __name__ or not self._is_bounded:
            return super().handle(record)
        with self.lock or contextlib.nullcontext():
            self.tell_left_out()
            return self._gate.lets_through(record, time.monotonic()) and super().handle(record)

    def tell_left_out(self, *, at_end: bool = False) -> None:
        """Write what was left out in the minutes that are over."""
        with self.lock or contextlib.nullcontext():
            for left in self._gate.take_left_out(time.monotonic(), at_end=at_end):
                kind = left.kind
                self._reporter.warning(
                    "log_lines_left_out", of=kind.event, reason=kind.reason, count=left.count, by=kind.logger
                )


def tell_left_out(*, at_end: bool = False) -> None:
    """Write which lines were left out in the minutes that are over; to be called now and then, and at the end."""
    for handler in _bounded_handlers():
        handler.tell_left_out(at_end=at_end)


def _bounded_handlers() -> list[BoundedHandler]:
    return [one for one in logging.getLogger().handlers if isinstance(one, BoundedHandler)]


def _chain() -> list[Processor]:
    """Return what happens to every line, ours or foreign, before it is rendered."""
    return [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.stdlib.PositionalArgumentsFormatter(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
        # Plain text, never with local variables: those are pictures and keys.
        structlog.processors.format_exc_info,
        make_safe,
    ]


def _renderer(human: bool, out: TextIO) -> list[Processor]:  # noqa: FBT001 -- two renderers, one switch
    if human:
        colours = out.isatty()
        return [
            escape_controls,
            structlog.dev.ConsoleRenderer(colors=colours, exception_formatter=structlog.dev.plain_traceback),
        ]
    return [structlog.processors.JSONRenderer()]  # ASCII only: control characters leave as \\u001b


def make_safe(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Process: hide secrets, count bytes, bound texts and collections, name objects by their type."""
    return {name: _safe_field(name, value) for name, value in event.items()}


def escape_controls(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Process for a terminal: nothing that a device sent may start a line or move the cursor."""
    return {one_line(name): _escaped(name, value) for name, value in event.items()}


def _safe_field(name: str, value: object) -> object:
    if name.startswith("_"):  # structlog's own, removed before rendering
        return value
    if name in _BLOCKS and isinstance(value, str):
        return redact(value[-_TRACEBACK_LENGTH_MAX:])
    if is_secret_name(name) and value:
        return HIDDEN
    return _safe(value, _DEPTH_MAX)


def _safe(value: object, depth: int) -> object:
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, str):
        return redact(_shortened(str(value)))
    if isinstance(value, bytes | bytearray | memoryview):
        return f"<{memoryview(value).nbytes} bytes>"
    if isinstance(value, Mapping | list | tuple | set | frozenset):
        return _safe_collection(value, depth)
    return redact(_shortened(_object_text(value)))


def _safe_collection(value: Any, depth: int) -> object:
    if depth == 0:
        return f"<{len(value)} items>"
    if isinstance(value, Mapping):
        pairs = list(value.items())[:_ITEMS_MAX]
        return {
            str(_safe(key, 0)): HIDDEN if is_secret_name(str(key)) else _safe(item, depth - 1) for key, item in pairs
        }
    return [_safe(item, depth - 1) for item in list(value)[:_ITEMS_MAX]]


def _object_text(value: object) -> str:
    """Return an object's own text only if its class wrote one: a default or dataclass repr may hold a picture."""
    if isinstance(value, BaseException):
        return f"{type(value).__name__}: {value}"
    if type(value).__str__ is not object.__str__:
        return str(value)
    return f"<{type(value).__name__}>"


def _shortened(text: str) -> str:
    rest = len(text) - _TEXT_LENGTH_MAX
    return f"{text[:_TEXT_LENGTH_MAX]}... ({rest} more)" if rest > 0 else text


def _escaped(name: str, value: object) -> object:
    if not isinstance(value, str):
        return value if value is None or isinstance(value, bool | int | float) else one_line(str(value))
    if name in _BLOCKS:
        # The bar tells a traceback's lines from log lines, whatever an exception's text says.
        return "  | " + block(value).replace("\n", "\n  | ")
    return one_line(value)

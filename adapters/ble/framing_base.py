"""What all one-way framings share: bounds, silence, asking again, what to write. Pure: the time is passed in.

A camera of these protocols sends a picture once, from its start to its end; nothing can be asked for but the whole
photo anew. Invariant: at most one picture is being collected, of at most ``image_bytes_max`` bytes; a picture that is
not whole becomes an :class:`Incomplete`, never a Complete.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence

from adapters.ble.contract import Action, Complete, ContentKind, Incomplete, Verdict, Write
from adapters.ble.profiles import Profile

# A camera that was cut off may still be sending the rest: ask for the next photo only after this much silence.
QUIET_S = 1.0
# Outcomes that the session has not told yet; more are forgotten, since an answer is only bytes to write.
UNJUDGED_MAX = 16


class OneWayFraming(ABC):
    """Implements :class:`adapters.ble.contract.Framing` around the collecting of one picture."""

    def __init__(self, profile: Profile, *, image_bytes_max: int, attempts_max: int) -> None:
        self._profile = profile
        self._image_bytes_max = min(image_bytes_max, profile.limits.image_bytes_max)
        self._attempts_max = attempts_max
        self._transfer = 0
        self._failures = 0
        self._unjudged: list[int] = []
        self._last_heard_s = 0.0
        # When an answer to a trigger must have begun; None: nothing was asked for.
        self._answer_due_s: float | None = None
        self._retake_wanted = False

    # --- what a protocol adds -----------------------------------------------------------------------

    @abstractmethod
    def _take(self, role: str, data: bytes) -> Sequence[Action]:
        """Take a notification."""

    @abstractmethod
    def _forget(self) -> None:
        """Drop what was collected and wait for the next beginning."""

    @property
    @abstractmethod
    def _begun(self) -> bool:
        """Whether a picture is being collected. Asked at every notification."""

    @property
    @abstractmethod
    def _held(self) -> str:
        """What was collected so far, in words."""

    def _fell_silent(self) -> Sequence[Action]:
        """Nothing came for the idle timeout while a picture was being collected."""
        return self._give_up("idle_timeout", f"{self._profile.limits.idle_timeout_s:g} s of silence after {self._held}")

    # --- the contract -------------------------------------------------------------------------------

    def connected(self, now_s: float, *, att_payload_max: int) -> Sequence[Action]:  # noqa: ARG002 -- these cameras don't ask
        self._forget()
        self._last_heard_s = now_s
        self._retake_wanted = False
        self._answer_due_s = None
        starts = self._profile.on_connect
        return [action for start in starts for action in self.command(start.command, start.value, now_s)]

    def notified(self, role: str, data: bytes, now_s: float) -> Sequence[Action]:
        self._last_heard_s = now_s
        actions = self._take(role, data)
        if self._answer_due_s is not None and self._begun:
            self._answer_due_s = None
        return actions

    def ticked(self, now_s: float) -> Sequence[Action]:
        silent_s = now_s - self._last_heard_s
        if self._begun:
            return self._fell_silent() if silent_s >= self._profile.limits.idle_timeout_s else ()
        if self._answer_due_s is not None and now_s >= self._answer_due_s:
            self._answer_due_s = None
            timeout_s = self._profile.limits.answer_timeout_s
            return self._give_up("idle_timeout", f"no picture began within {timeout_s:g} s of asking for one")
        if self._retake_wanted and silent_s >= QUIET_S:
            self._retake_wanted = False
            return self.command(self._profile.retake, None, now_s)
        return ()

    def judged(
        self,
        transfer: int,
        verdict: Verdict,
        now_s: float,  # noqa: ARG002
        *,
        retry_after_s: float = 0,  # noqa: ARG002 -- these protocols have no words for it
    ) -> Sequence[Action]:
        if transfer not in self._unjudged:
            return ()
        self._unjudged.remove(transfer)
        answer = self._profile.answers.get(verdict)
        return () if answer is None else [self._write(answer.role, bytes.fromhex(answer.hex))]

    def disconnected(self, now_s: float) -> Sequence[Action]:  # noqa: ARG002
        self._answer_due_s = None
        actions: Sequence[Action] = ()
        if self._begun:
            actions = self._give_up("gap", f"the link was lost after {self._held}")
        self._retake_wanted = False  # the next connection begins with a trigger of its own
        return actions

    @property
    def held_bytes(self) -> int:
        """Nothing outlives a link: disconnected() drops what was collected."""
        return 0

    def forget(self, reason: str, why: str) -> Sequence[Action]:  # noqa: ARG002 -- see held_bytes
        return ()

    def command(self, name: str, value: int | None, now_s: float) -> Sequence[Action]:
        form = self._profile.commands.get(name)
        if form is None:
            return ()
        if name == self._profile.retake:
            self._answer_due_s = now_s + self._profile.limits.answer_timeout_s
        return [self._write(form.role, form.data(value))]

    # --- for protocols ------------------------------------------------------------------------------

    def _complete(self, payload: bytes, *, orientation: int = 1) -> Sequence[Action]:
        """Hand on a picture that passed the protocol's checks."""
        self._forget()
        self._failures = 0
        self._retake_wanted = False
        self._transfer += 1
        self._unjudged = [*self._unjudged[1 - UNJUDGED_MAX :], self._transfer]
        return [
            Complete(
                transfer=self._transfer,
                kind=ContentKind.IMAGE,
                payload=payload,
                submission_id=None,
                orientation=orientation,
            )
        ]

    def _give_up(self, reason: str, detail: str) -> Sequence[Action]:
        """Drop the picture; ask for another when it is quiet, up to ``attempts_max`` in a row."""
        self._forget()
        self._failures += 1
        self._retake_wanted = bool(self._profile.retake) and self._failures < self._attempts_max
        if self._failures >= self._attempts_max:
            self._failures = 0
        return [Incomplete(reason=reason, detail=detail)]

    def _write(self, role: str, data: bytes) -> Write:
        return Write(role=role, data=data, with_response=self._profile.write_with_response)


def jpeg_fault(data: bytes) -> str | None:
    """Return what shows that ``data`` is no whole JPEG (ITU-T T.81: SOI FF D8 ... EOI FF D9), or None."""
    if not data.startswith(b"\xff\xd8\xff"):
        return "it does not begin with FF D8 FF, as a JPEG does"
    if not data.endswith(b"\xff\xd9"):
        return "it does not end with FF D9, as a whole JPEG does"
    return None

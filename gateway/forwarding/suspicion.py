"""Which event breaks the link? Pure: sequences in, what to send next and verdicts out.

IoT Hub can't say no over MQTT: it drops the connection. So a dropped
connection accuses what was in flight, and what was in flight is nearly always
innocent. The rules, in the order in which an event meets them:

1. Lost with others in flight: a suspect. While there are suspects the
   forwarder is cautious: one message at a time, oldest first, with no more
   events in it than the lost one had.
2. Lost in a message that flew alone: its events next fly half as many
   together. A bad one is cornered in log2(n) drops, and an ordinary outage
   costs one message at a time, not one event at a time.
3. Lost as a single event: it steps aside and the rest goes on. It is tried
   again after RETRY_AFTER_ACKNOWLEDGED other messages, or when nothing else
   waits, as the first message of a fresh session: the fairest trial there is.
   Lost in such a trial it has a strike, if anything was acknowledged since the
   strike before: a link that is down strikes nobody.
4. It is poison after POISON_STRIKES or more, when the record since the first
   can't be the link's doing (:func:`log_chance_of_a_bad_link`). A link that is
   merely bad drops the others as well, which acquits.

What is acknowledged or no longer pending is forgotten, and nothing is stored:
a restart begins without suspicion.
"""

import math
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

POISON_STRIKES = 3
# One false verdict in about a million suspects, and a dead letter can be requeued.
CHANCE_MAX = 1e-6
# So much of the rest goes through between two trials: poison costs the others sessions, not their place.
RETRY_AFTER_ACKNOWLEDGED = 4


@dataclass(slots=True)
class _Suspect:
    group_max: int  # its next message holds at most so many events
    was_lost_alone: bool = False  # in a message that flew alone
    is_aside: bool = False
    strikes: int = 0
    acknowledged_at_strike: int = -1
    passes_at_first_strike: int = 0
    drops_at_first_strike: int = 0


class Suspicion:
    """The state of the search."""

    def __init__(self) -> None:
        self._suspects: dict[int, _Suspect] = {}  # those aside: the longest untried first
        self._group_max: dict[int, int] = {}  # of refused batches: no reason for caution, the session lives
        self._acknowledged = 0
        self._acknowledged_since_trial = 0
        # What becomes of messages that fly alone for the first time: how the link treats anyone.
        self._passes = 0
        self._drops = 0

    @property
    def is_cautious(self) -> bool:
        """Return whether messages must fly alone."""
        return bool(self._suspects)

    @property
    def aside(self) -> frozenset[int]:
        """Return the sequences that stepped aside."""
        return frozenset(sequence for sequence, suspect in self._suspects.items() if suspect.is_aside)

    def next_group(self, waiting: Iterable[int]) -> list[int]:
        """Return the first of ``waiting`` that may share a message; suspects don't mix with others."""
        if not self._suspects and not self._group_max:
            return list(waiting)
        group: list[int] = []
        room = math.inf
        for sequence in waiting:
            suspect = self._suspects.get(sequence)
            if suspect is not None and suspect.is_aside:
                continue
            room = min(room, self._group_max.get(sequence, math.inf), suspect.group_max if suspect else math.inf)
            if len(group) >= room or (group and (suspect is None) != (group[0] not in self._suspects)):
                break
            group.append(sequence)
        return group

    def next_trial(self, waiting: Collection[int], *, nothing_else: bool) -> int | None:
        """Return which of ``waiting`` that stepped aside is to be tried now, first in a fresh session, if any."""
        if not nothing_else and self._acknowledged_since_trial < RETRY_AFTER_ACKNOWLEDGED:
            return None
        return next((s for s, suspect in self._suspects.items() if suspect.is_aside and s in waiting), None)

    def acknowledged(self, sequences: Sequence[int]) -> None:
        """Note that a message with these (none: tombstones only) was acknowledged."""
        self._acknowledged += 1
        self._acknowledged_since_trial += 1
        if self.is_cautious and not self._had_been_lost_alone(sequences):
            self._passes += 1
        self.forget(sequences)

    def refused(self, sequences: Sequence[int]) -> None:
        """Note that the hub said no to a message with these, of at least two: they go in halves."""
        half = max(1, len(sequences) // 2)
        self._group_max.update(dict.fromkeys(sequences, half))

    def lost(self, messages: Sequence[Sequence[int]], *, is_first_of_session: bool) -> int | None:
        """Note what was in flight when a session was lost. Return the sequence that is poison, if that is now certain.

        ``is_first_of_session`` says whether nothing was sent before ``messages`` in that session.
        """
        if not self.is_cautious:
            for message in messages:
                self._suspects.update((sequence, _Suspect(len(message))) for sequence in message)
            return None
        assert len(messages) <= 1, "caution means one at a time"
        return self._lost_alone(messages[0], is_first_of_session=is_first_of_session) if messages else None

    def forget(self, sequences: Iterable[int]) -> None:
        """Drop what was acknowledged or set aside for good."""
        if not self._suspects and not self._group_max:
            return
        for sequence in sequences:
            self._suspects.pop(sequence, None)
            self._group_max.pop(sequence, None)

    def keep_only(self, pending: Collection[int]) -> None:
        """Drop what is no longer pending: evicted or expired, it can't be tried any more."""
        self.forget([sequence for sequence in self._suspects if sequence not in pending])

    def _had_been_lost_alone(self, sequences: Sequence[int]) -> bool:
        return any(s in self._suspects and self._suspects[s].was_lost_alone for s in sequences)

    def _lost_alone(self, sequences: Sequence[int], *, is_first_of_session: bool) -> int | None:
        if not self._had_been_lost_alone(sequences):
            self._drops += 1
        half = max(1, len(sequences) // 2)
        for sequence in sequences:
            suspect = self._suspects.setdefault(sequence, _Suspect(half))
            suspect.group_max = half
            suspect.was_lost_alone = True
        if len(sequences) != 1:
            return None
        return self._accuse(sequences[0], was_trial=is_first_of_session)

    def _accuse(self, sequence: int, *, was_trial: bool) -> int | None:
        suspect = self._suspects.pop(sequence)
        self._suspects[sequence] = suspect  # to the end: the others aside are tried first
        suspect.is_aside = True
        self._acknowledged_since_trial = 0
        if not was_trial or suspect.acknowledged_at_strike == self._acknowledged:
            return None
        suspect.strikes += 1
        suspect.acknowledged_at_strike = self._acknowledged
        if suspect.strikes == 1:
            suspect.passes_at_first_strike = self._passes
            suspect.drops_at_first_strike = self._drops
        return sequence if self._is_poison(suspect) else None

    def _is_poison(self, suspect: _Suspect) -> bool:
        if suspect.strikes < POISON_STRIKES:
            return False
        passes = self._passes - suspect.passes_at_first_strike
        drops = self._drops - suspect.drops_at_first_strike
        return log_chance_of_a_bad_link(suspect.strikes, passes=passes, drops=drops) < math.log(CHANCE_MAX)


def log_chance_of_a_bad_link(strikes: int, *, passes: int, drops: int) -> float:
    """Return the log of how much better "this event is lost always" explains the record than "the link loses anyone".

    A likelihood ratio (Neyman and Pearson, 1933): one loss rate for all,
    against one for the others and certain loss for this one. Stopping below c
    convicts wrongly about once in 1/c trials (Wald's sequential test, 1945); the
    rates are fitted, so that is an estimate and the simulation is the check.
    """
    return _log_likelihood(drops + strikes, passes) - _log_likelihood(drops, passes)


def _log_likelihood(drops: int, passes: int) -> float:
    """Return the log likelihood of so many drops and passes under the rate that fits them best."""
    total = drops + passes
    return sum(count * math.log(count / total) for count in (drops, passes) if count)

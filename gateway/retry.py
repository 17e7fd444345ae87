"""How long to wait before trying again, and how fast to go. Pure: state is data, time and randomness are arguments.

Back-off is "full jitter": the wait is uniform between nothing and a bound that
doubles with each failure up to a cap, so that a site of gateways that lost the
same router does not return as one herd. Source: M. Brooker, "Exponential
Backoff And Jitter", AWS Architecture Blog, 2015.

Pace is a token bucket (RFC 2697 section 1 describes the idea) that holds one second's worth.
"""

from dataclasses import dataclass, replace

# 2**32 seconds is beyond any cap; a float overflows at 2**1024, after a thousand failures.
_DOUBLINGS_MAX = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Backoff:
    """The state of one retried thing. ``attempts`` counts failures since the last success."""

    initial_s: float
    max_s: float
    attempts: int = 0

    def failed(self) -> "Backoff":
        """Return the state after one more failure."""
        return replace(self, attempts=self.attempts + 1)

    def succeeded(self) -> "Backoff":
        """Return the state after a success: the next failure waits shortly again."""
        return replace(self, attempts=0) if self.attempts else self

    @property
    def bound_s(self) -> float:
        """Return the longest wait that may follow the last failure."""
        doublings = min(max(self.attempts - 1, 0), _DOUBLINGS_MAX)
        return float(min(self.max_s, self.initial_s * 2**doublings))

    def wait_s(self, draw: float) -> float:
        """Return how long to wait, for a ``draw`` uniform in [0, 1)."""
        return self.bound_s * draw


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenBucket:
    """The state of a rate cap: at most ``rate_per_s`` on average, at most one second's worth (at least one) at once."""

    rate_per_s: float
    tokens: float
    at_s: float

    @classmethod
    def full(cls, *, rate_per_s: float, now_s: float) -> "TokenBucket":
        """Return a bucket that has rested."""
        return cls(rate_per_s=rate_per_s, tokens=max(1.0, rate_per_s), at_s=now_s)

    def wait_s(self, now_s: float) -> float:
        """Return how long from ``now_s`` until one may go; 0 if at once."""
        return max(0.0, (1.0 - self._filled(now_s)) / self.rate_per_s)

    def spent(self, now_s: float) -> "TokenBucket":
        """Return the state after one went at ``now_s``."""
        return replace(self, tokens=self._filled(now_s) - 1.0, at_s=now_s)

    def _filled(self, now_s: float) -> float:
        return min(max(1.0, self.rate_per_s), self.tokens + (now_s - self.at_s) * self.rate_per_s)

"""The list: names, verdicts, and how it is printed."""

import subprocess
from collections.abc import Callable, Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What one check found. ``facts`` are worth reading also when all is well."""

    is_ok: bool
    facts: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """``run`` returns a verdict; what it raises is a verdict too (``judge``)."""

    name: str
    run: Callable[[], Verdict]


def ok(facts: str) -> Verdict:
    return Verdict(is_ok=True, facts=facts)


def failed(facts: str) -> Verdict:
    return Verdict(is_ok=False, facts=facts)


def judge(check: Check) -> Verdict:
    """Run one check; a tool that is missing or breaks fails that line, not the list."""
    try:
        return check.run()
    except (OSError, ValueError, LookupError, RuntimeError, ImportError, subprocess.CalledProcessError) as error:
        return failed(f"{type(error).__name__}: {error}")


def go_through(checks: Iterable[Check], tell: Callable[[str], None]) -> bool:
    """Run every check, tell each as it ends, and return whether all are ok."""
    all_ok = True
    for check in checks:
        verdict = judge(check)
        all_ok &= verdict.is_ok
        first, *rest = verdict.facts.splitlines() or [""]
        tell(f"{'ok    ' if verdict.is_ok else 'FAILED'}  {check.name}: {first}")
        for line in rest:
            tell(f"        {line}")
    return all_ok

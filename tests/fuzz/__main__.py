"""Fuzzing for as long as there is time: ``make fuzz FUZZ="--minutes 60 --target mqtt"``.

With atheris (coverage-guided; the extra ``fuzz``) each target runs in a process of its own over its corpus, new inputs
that reach new code are kept in ``--keep``. Where atheris does not install, hypothesis changes the corpus' inputs at
random. A finding is written beside the corpus and ends with status 1; put it into tests/fuzz/corpus with the mend.
"""

import argparse
import hashlib
import importlib.util
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.fuzz.mutations import mutated
from tests.fuzz.targets import TARGETS, Target

PROGRESS_S = 10.0


def say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def has_atheris() -> bool:
    return importlib.util.find_spec("atheris") is not None


def guided(name: str, target: Target, seconds: float, keep: Path) -> int:
    """Fuzz one target with atheris in a process of its own; its progress is libFuzzer's. Returns the exit status."""
    corpus = keep / name
    corpus.mkdir(parents=True, exist_ok=True)
    command = [
        *(sys.executable, "-m", "tests.fuzz.guided", name, str(corpus), *map(str, target.seeds)),
        *(
            f"-max_total_time={max(1, int(seconds))}",
            f"-max_len={target.bytes_max}",
            "-timeout=20",
            "-rss_limit_mb=2048",
        ),
        *(f"-artifact_prefix={corpus.parent}/{name}-", "-print_final_stats=0", "-verbosity=1", "-close_fd_mask=0"),
    ]
    return subprocess.run(command, check=False).returncode


def at_random(name: str, target: Target, seconds: float, keep: Path) -> int:
    """Fuzz one target with changed inputs of its corpus."""
    give_up_at = time.monotonic() + seconds
    tell_at, count = time.monotonic() + PROGRESS_S, 0
    for data in mutated(target.examples(), bytes_max=target.bytes_max, seed=time.time_ns()):
        try:
            target.run(data)
        except Exception:
            keep.mkdir(parents=True, exist_ok=True)
            file = keep / f"{name}-crash-{hashlib.sha256(data).hexdigest()[:16]}"
            file.write_bytes(data)
            say(f"{name}: a finding, kept in {file}")
            raise
        count += 1
        now = time.monotonic()
        if now > tell_at:
            tell_at = now + PROGRESS_S
            say(f"{name}: {count} inputs, {max(0, give_up_at - now):.0f} s left")
        if now > give_up_at:
            break
    say(f"{name}: {count} inputs, nothing found")
    return 0


def against_the_document(examples: int) -> int:
    """Ask generated requests of every route, and hold each answer against the OpenAPI document."""
    command = [sys.executable, "-m", "pytest", "tests/conformance/test_openapi.py", "-q", "--timeout", "86400"]
    environment = os.environ | {"OPENAPI_EXAMPLES": str(examples)}
    return subprocess.run(command, env=environment, check=False).returncode


def main() -> int:
    parser = argparse.ArgumentParser(prog="make fuzz", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10, help="for all targets together (default: 10)")
    parser.add_argument("--target", action="append", choices=sorted(TARGETS), help="only this one (may be repeated)")
    parser.add_argument("--keep", type=Path, default=Path(tempfile.gettempdir()) / "gateway-fuzz", help="new inputs")
    parser.add_argument("--random", action="store_true", help="without atheris, even where it is installed")
    parser.add_argument("--openapi", type=int, nargs="?", const=2000, help="instead: that many requests for each route")
    options = parser.parse_args()
    if options.openapi:
        return against_the_document(options.openapi)
    chosen = options.target or list(TARGETS)
    seconds = options.minutes * 60 / len(chosen)
    fuzz = guided if has_atheris() and not options.random else at_random
    say(f"{len(chosen)} targets, {seconds:.0f} s each, {'atheris' if fuzz is guided else 'changes at random'}")
    failed = []
    for name in chosen:
        say(f"--- {name}")
        if fuzz(name, TARGETS[name], seconds, options.keep):
            failed.append(name)
    say(f"Found something in: {', '.join(failed)} (see {options.keep})" if failed else "Nothing found.")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())

"""Which payloads are suspects after a crash."""

import signal
import subprocess
import sys
from hashlib import sha256
from pathlib import Path

from gateway.crash_journal import MappedCrashJournal

ONE, TWO = (sha256(text).hexdigest() for text in (b"one", b"two"))


def test_payload_in_work_is_found_by_the_next_process(tmp_path: Path) -> None:
    script = (
        "import os, signal, sys; from pathlib import Path; from gateway.crash_journal import MappedCrashJournal\n"
        f"journal = MappedCrashJournal(Path(sys.argv[1]), slots=4)\n"
        f"with journal.working_on({TWO!r}): pass\n"
        f"with journal.working_on({ONE!r}): os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    ended = subprocess.run([sys.executable, "-c", script, str(tmp_path / "in-work")], check=False)
    assert ended.returncode == -signal.SIGKILL

    journal = MappedCrashJournal(tmp_path / "in-work", slots=4)
    assert journal.leftovers == (ONE,)
    journal.close()


def test_suspects_are_named_once(tmp_path: Path) -> None:
    path = tmp_path / "in-work"
    path.write_bytes(bytes.fromhex(ONE))
    MappedCrashJournal(path, slots=2).close()
    again = MappedCrashJournal(path, slots=2)
    assert again.leftovers == ()
    again.close()


def test_finished_work_leaves_no_trace_even_after_an_error(tmp_path: Path) -> None:
    journal = MappedCrashJournal(tmp_path / "in-work", slots=1)
    try:
        with journal.working_on(ONE):
            raise RuntimeError("boom")
    except RuntimeError:
        pass
    journal.close()
    again = MappedCrashJournal(tmp_path / "in-work", slots=1)
    assert again.leftovers == ()
    again.close()


def test_more_work_than_slots_goes_on_unnamed(tmp_path: Path) -> None:
    journal = MappedCrashJournal(tmp_path / "in-work", slots=1)
    with journal.working_on(ONE), journal.working_on(TWO):
        assert (tmp_path / "in-work").stat().st_size == 32
    journal.close()


def test_a_journal_of_another_size_is_read_whole(tmp_path: Path) -> None:
    path = tmp_path / "in-work"
    path.write_bytes(bytes(32) + bytes.fromhex(ONE) + bytes.fromhex(TWO) + b"torn")
    journal = MappedCrashJournal(path, slots=1)
    assert journal.leftovers == (ONE, TWO)
    journal.close()

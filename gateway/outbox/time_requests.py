"""What the writer thread is asked about clocks: to note an offset, and that the machine is still alive."""

from dataclasses import dataclass
from typing import ClassVar

from gateway.outbox.boot_rows import keep_time, save_boots
from gateway.outbox.transaction import Transaction
from gateway.timekeeping.boots import ClockOffset


@dataclass(frozen=True, slots=True, kw_only=True)
class NoteOffset:
    """The wall clock of the running boot is right: its events can be told their true times."""

    failpoint: ClassVar[str] = "note_offset"
    takes_space: ClassVar[bool] = False
    offset: ClockOffset

    def apply(self, transaction: Transaction) -> None:
        """Write the offset, and the time without power that it tells; what is read from now on uses it."""
        book = transaction.book.with_offset(self.offset)
        known = set(transaction.book.boots)
        changed = [boot for boot in book.boots if boot not in known]
        save_boots(transaction.connection, transaction.queries, changed)
        transaction.book = book


@dataclass(frozen=True, slots=True, kw_only=True)
class KeepTime:
    """The machine is still alive at this moment. ``written_bytes``: to the disk since the last note."""

    failpoint: ClassVar[str] = "keep_time"
    takes_space: ClassVar[bool] = False
    written_bytes: int

    def apply(self, transaction: Transaction) -> None:
        """Write one row: a power cut then loses only the age since."""
        keep_time(
            transaction.connection,
            transaction.queries,
            boot=transaction.book.current.number,
            boottime_s=transaction.boottime_s,
            written_bytes=self.written_bytes,
        )

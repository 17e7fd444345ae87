"""Keys go on over all epochs; what leaves the site says epoch and sequence."""

from gateway.messages import Epoch
from gateway.outbox.epochs import EpochBook, SequenceRange


def book() -> EpochBook:
    first = Epoch(epoch="one", predecessor=None, predecessor_last_sequence=None)
    second = Epoch(epoch="two", predecessor="one", predecessor_last_sequence=7, base=10)
    third = Epoch(epoch="three", predecessor="two", predecessor_last_sequence=2, base=12)
    return EpochBook([third, first, second])


def test_a_key_is_of_the_last_epoch_that_begins_below_it() -> None:
    assert [book().of(key).epoch for key in (1, 10, 11, 12, 13, 10**12)] == [
        "one",
        "one",
        "two",
        "two",
        "three",
        "three",
    ]


def test_a_range_of_keys_is_told_epoch_by_epoch() -> None:
    assert list(book().ranges(9, 13)) == [
        SequenceRange("one", 0, 9, 10),
        SequenceRange("two", 10, 1, 2),
        SequenceRange("three", 12, 1, 1),
    ]


def test_a_former_epoch_has_the_last_sequence_that_its_successor_knew_of_it() -> None:
    assert [(former.epoch.epoch, former.sequence_high) for former in book().former] == [("one", 7), ("two", 2)]
    assert book().current.epoch == "three"

"""What a consumer in the cloud can tell from the messages alone: whether everything that a gateway accepted is there.

    gateway simulate hub --record received.jsonl       then: python consumer/completeness.py received.jsonl
    gateway outbox verify-bundle FILE --print          or: ... | python consumer/completeness.py -

Reads JSON lines, each an envelope (docs/envelope.schema.json) or an object with one under "body". Knows nothing of the
gateway but the three rules of docs/PROTOCOLS.md: the first item of a key counts, a tombstone accounts for what will not
come, and everything from 1 to the watermark must be one or the other. Needs Python and nothing else.

Ends with 0 if all is there, 1 if something is missing or contradictory, 2 if the input can't be read.
"""

import argparse
import json
import sys
from collections import Counter, defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any

Json = dict[str, Any]
# A copy may have a better received_at; these may not differ.
FIXED = ("device_id", "submission_id", "payload_sha256")


class Stretch:
    """What came of one epoch of one gateway."""

    def __init__(self) -> None:
        self.high = 0
        self.items: dict[int, list[str]] = {}  # sequence → what is FIXED
        self.repeats = 0
        self.tombstones: dict[tuple[int, int], dict[str, int]] = {}  # (first, last) → reasons
        self.predecessor: Json | None = None
        self.wrong: list[str] = []

    def take_item(self, item: Json) -> None:
        """Count an item; the first of its key stays."""
        sequence = item["sequence"]
        content = [item[name] for name in FIXED]
        if sequence not in self.items:
            self.items[sequence] = content
            return
        self.repeats += 1
        if self.items[sequence] != content:
            self.wrong.append(f"sequence {sequence} came with two contents")

    def take_tombstone(self, tombstone: Json) -> None:
        """Note a range that will not come."""
        first, last = tombstone["first_sequence"], tombstone["last_sequence"]
        count = last - first + 1
        reasons = tombstone.get("reasons") or {tombstone["reason"]: count}
        if count < 1 or first < 1 or sum(reasons.values()) != count:
            self.wrong.append(f"the tombstone of {first} to {last} counts {sum(reasons.values())} of {count}")
        if sum((tombstone.get("labels") or {}).values()) > count:
            self.wrong.append(f"the tombstone of {first} to {last} counts more labels than events")
        self.tombstones[first, last] = reasons
        self.high = max(self.high, last)

    def told(self) -> set[int]:
        """Return the sequences that tombstones cover."""
        return {sequence for first, last in self.tombstones for sequence in range(first, last + 1)}

    def reasons(self) -> Counter[str]:
        """Return the counts by reason, of the ranges that lie in no wider one."""
        counted: Counter[str] = Counter()
        end = 0
        for (_, last), reasons in sorted(self.tombstones.items(), key=lambda one: (one[0][0], -one[0][1])):
            if last > end:
                counted.update(reasons)
                end = last
        return counted

    def missing(self) -> list[list[int]]:
        """Return the ranges up to the watermark of which nothing is known."""
        known = self.told().union(self.items)
        ranges: list[list[int]] = []
        for sequence in range(1, self.high + 1):
            if sequence not in known:
                if ranges and ranges[-1][1] == sequence - 1:
                    ranges[-1][1] = sequence
                else:
                    ranges.append([sequence, sequence])
        return ranges


Stretches = defaultdict[tuple[str, str], Stretch]


def read(lines: Iterable[str], stretches: Stretches) -> None:
    """Take messages. Raises what a line that is none raises."""
    for line in lines:
        document = json.loads(line)
        envelope = document.get("body", document)
        gateway = envelope["gateway_id"]
        stretch = stretches[gateway, envelope["epoch"]]
        stretch.high = max(stretch.high, envelope["sequence_high"])
        stretch.predecessor = envelope["predecessor"] or stretch.predecessor
        for item in envelope["items"]:
            stretch.take_item(item)
        for tombstone in envelope["tombstones"]:
            stretches[gateway, tombstone["epoch"]].take_tombstone(tombstone)


def judge(stretches: Stretches) -> tuple[list[str], bool]:
    """Return what to say of each stretch, and whether all is well."""
    for (gateway, _), stretch in list(stretches.items()):
        before = stretch.predecessor
        if before and before.get("last_sequence"):
            known = stretches[gateway, before["epoch"]]  # made here if nothing of it ever came
            known.high = max(known.high, before["last_sequence"])
    said: list[str] = []
    is_well = True
    for (gateway, epoch), stretch in sorted(stretches.items()):
        missing = stretch.missing()
        told = len(stretch.told().difference(stretch.items))
        reasons = ", ".join(f"{count} {reason}" for reason, count in sorted(stretch.reasons().items()))
        what = f"{len(stretch.items)} items, {stretch.repeats} repeats, {told} told by tombstones"
        said.append(
            f"{gateway} {epoch}: {'NOT ' if missing else ''}complete up to {stretch.high}: {what}"
            + (f" ({reasons})" if told else "")
        )
        said += [f"  MISSING: {first} to {last}" if first < last else f"  MISSING: {first}" for first, last in missing]
        said += [f"  CONTRADICTION: {text}" for text in stretch.wrong]
        is_well = is_well and not missing and not stretch.wrong
    return said, is_well


def main() -> int:
    """Return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("files", nargs="+", help="JSON lines; - is standard input")
    stretches: Stretches = defaultdict(Stretch)
    for name in parser.parse_args().files:
        try:
            text = sys.stdin.read() if name == "-" else Path(name).read_text(encoding="utf-8")
            read(filter(str.strip, text.split("\n")), stretches)
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            print(f"{name}: no JSON lines of envelopes: {error!r}", file=sys.stderr)
            return 2
    said, is_well = judge(stretches)
    print("\n".join(said) or "no messages")
    return 0 if is_well else 1


if __name__ == "__main__":
    sys.exit(main())

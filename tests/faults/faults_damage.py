"""Pages of the outbox file that go bad at rest, as on a worn card.

What lay on a spoiled leaf may be gone; nothing else may. So before a page is overwritten its keys are written down,
and what the recovered gateway has not is held against them: more is a loss. What was on them is excused, whether the
cloud has it or a ``damaged`` tombstone tells of it, and so is its double: a device that was not answered and sends
again what is gone makes a second event.
"""

import random
import time
from contextlib import closing
from pathlib import Path

import requests

from gateway.outbox.page_source import PageSource
from gateway.outbox.pages import PAGE_BYTES, PageDamaged, table_cells
from tests.fakes.outbox_damage import pages_of, spoil
from tests.faults.faults import Cycle
from tests.faults.outbox_file import kept
from tests.faults.site import Broken, Site

LIFE_S = (0.3, 1.5)
# From the start to the note in the log: the check of the whole file begins with the gateway.
FOUND_WITHIN_S = 45.0
SALVAGED_WITHIN_S = 30.0
# What is hit: a leaf of these, the one table more often, or the first page.
PLACES = ("events", "events", "events_by_submission", "ledger", "first page")
CHECKING = {"GATEWAY_OUTBOX__CHECK_EVERY_H": "0.0005", "GATEWAY_CLOUD__TOMBSTONE_WAIT_S": "0.5"}


class CorruptPages:
    """One to three pages become noise or nothing while the gateway is stopped; it finds out and recovers by itself."""

    def cycle(self, site: Site, rng: random.Random) -> Cycle:
        time.sleep(rng.uniform(*LIFE_S))
        site.stop()
        before = kept(site.data_dir)
        spoiled = self._spoil(site.data_dir / "outbox.db", rng)
        found_before = site.logged("outbox_set_aside")
        site.ledger.mark()
        site.start()
        felt = site.wait_until(lambda: site.logged("outbox_set_aside") > found_before, FOUND_WITHIN_S)
        site.ledger.take_recovery()
        site.ledger.mark()
        site.wait_for_acknowledgements(what="after pages went bad")
        recovery_s = site.ledger.take_recovery()
        if recovery_s is None:
            raise Broken("devices were served before the gateway was back")
        if not site.wait_until(lambda: _is_salvaged(site), SALVAGED_WITHIN_S):
            raise Broken("the damaged file was not taken over in time")
        self._judge(site, before, spoiled)
        return Cycle(recovery_s=recovery_s, felt=felt)

    def _spoil(self, file: Path, rng: random.Random) -> set[int]:
        """Overwrite some pages and return the keys of events that were on them."""
        # Chosen before anything is overwritten, so that the trees can still be walked.
        names = rng.sample(PLACES, rng.randrange(1, 4))
        leaves = {name: [1] if name == "first page" else pages_of(file, name, leaves=True) for name in names}
        pages = [(rng.choice(leaves[name]), name) for name in names]
        keys = {key for number, name in pages if name == "events" for key in _keys_on(file, number)}
        for number, _ in pages:
            spoil(file, number, noise=rng.choice((bytes(PAGE_BYTES), rng.randbytes(PAGE_BYTES))))
        return keys

    def _judge(self, site: Site, before: dict[int, str], spoiled: set[int]) -> None:
        now = kept(site.data_dir)
        missing = before.keys() - now.keys()
        if beyond := missing - spoiled:
            raise Broken(f"{len(beyond)} events are gone that were on no spoiled page, first key {min(beyond)}")
        if changed := [key for key in before.keys() & now.keys() if before[key] != now[key]]:
            raise Broken(f"{len(changed)} events are not what they were, first key {changed[0]}")
        site.excused |= {before[key] for key in missing}


def _is_salvaged(site: Site) -> bool:
    try:
        aside = site.health()["outbox"]["set_aside"]
    except requests.RequestException:
        return False
    return all(salvage["stage"] == "done" for salvage in aside)


def _keys_on(file: Path, number: int) -> set[int]:
    with closing(PageSource(file)) as source:
        try:
            return {cell.rowid for cell in table_cells(source.read(number), number)}
        except PageDamaged:
            return set()

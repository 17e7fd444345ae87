"""Runs every scenario and tells the host, line by line. Process 1's only child: see start.sh."""

import asyncio
import logging
import os
import platform
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

from tests.bluez_vm.guest.daemons import OUT, system_bus
from tests.bluez_vm.guest.scenarios import SCENARIOS, Scenario
from tests.bluez_vm.guest.site import Site
from tests.bluez_vm.lines import Kind, Line

log = logging.getLogger(__name__)

TOLD_ON = Path("/dev/ttyS1")
# No scenario waits longer for all it waits for together; a hang would use up the whole run.
SCENARIO_TIMEOUT_S = 240.0


def tell(line: Line) -> None:
    with TOLD_ON.open("w") as port:
        port.write(line.encoded())


async def run(scenario: Scenario, site: Site) -> Line:
    """Return how it went."""
    began_s = time.monotonic()
    detail = ""
    try:
        async with asyncio.timeout(SCENARIO_TIMEOUT_S):
            await scenario.run(site)
    except TimeoutError:
        detail = f"not done after {SCENARIO_TIMEOUT_S:g} s"
    except Exception as error:
        log.exception("scenario failed: %s", scenario.name)
        detail = str(error) or repr(error)
    kind = Kind.FAILED if detail else Kind.PASSED
    return Line(kind=kind, text=scenario.name, seconds=time.monotonic() - began_s, detail=detail)


def chosen(text: str) -> list[Scenario]:
    """Return those whose name has this text, and the first, without which there is no site."""
    return [one for one in SCENARIOS if text in one.name or one is SCENARIOS[0]]


def about() -> str:
    """Return what this is shown on."""
    version = subprocess.run([os.environ["BLUETOOTHD"], "--version"], capture_output=True, text=True, check=True)
    return f"Linux {platform.release()}, bluetoothd {version.stdout.strip()}, Python {platform.python_version()}"


async def run_all(scenarios: Sequence[Scenario]) -> None:
    site = Site()
    for scenario in scenarios:
        tell(Line(kind=Kind.PROGRESS, text=scenario.name))
        result = await run(scenario, site)
        tell(result)
        if scenario is SCENARIOS[0] and result.kind is Kind.FAILED:
            return  # there is no site on which the others could do better


def main() -> None:
    logging.basicConfig(filename=OUT / "guest.log", level=logging.INFO, format="%(asctime)s %(name)s %(message)s")
    tell(Line(kind=Kind.PROGRESS, text=about()))
    system_bus()
    asyncio.run(run_all(chosen(os.environ.get("SCENARIOS", ""))))
    tell(Line(kind=Kind.END))


if __name__ == "__main__":
    main()

"""Compiles, on the host and in seconds, what the guest will import: emulated it would take a minute.

Run with PYTHONPYCACHEPREFIX set. What is missing here the guest compiles itself.
"""

import importlib
import pkgutil
import sys

PACKAGES = ("gateway", "adapters")
# Loaded late, by name or by a factory.
MODULES = (
    "ai_edge_litert.interpreter",
    "bleak.backends.bluezdbus.adapter",
    "bleak.backends.bluezdbus.client",
    "bleak.backends.bluezdbus.scanner",
    "bleak_retry_connector",
    "bluetooth_auto_recovery",
    "bthome_ble",
    "PIL.JpegImagePlugin",
    "PIL.PpmImagePlugin",
    "requests",
    "tests.bluez_vm.guest.scenarios",
    "typer.testing",
    "uvicorn.lifespan.off",
    "uvicorn.protocols.http.h11_impl",
)


def main() -> None:
    names = list(MODULES)
    for package in PACKAGES:
        found = pkgutil.walk_packages(importlib.import_module(package).__path__, f"{package}.")
        names += [one.name for one in found if not one.name.endswith("__main__")]
    for name in names:
        try:
            importlib.import_module(name)
        except ImportError as error:
            print(f"not compiled ahead: {name}: {error}", file=sys.stderr)


if __name__ == "__main__":
    main()

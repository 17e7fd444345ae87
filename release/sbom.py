"""``make sbom``: the software bill of materials of the gateway and its extras for users, CycloneDX 1.6 in JSON.

What is installed here by the requirements of pyproject.toml, in the versions of the lock file, with the licences and
the relations that the packages' metadata tell; what tests and training need is not part of it. A component that only
some machines get says so. The same input gives the same bytes: the time is the release's, the number is a hash.
"""

import argparse
import sys
import uuid
from collections.abc import Iterator, Mapping
from importlib.metadata import distribution
from pathlib import Path

from cyclonedx.contrib.license.factories import LicenseFactory
from cyclonedx.model import Property
from cyclonedx.model.bom import Bom
from cyclonedx.model.bom_ref import BomRef
from cyclonedx.model.component import Component, ComponentScope, ComponentType
from cyclonedx.model.license import DisjunctiveLicense
from cyclonedx.output.json import JsonV1Dot6
from packageurl import PackageURL
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from gateway import RELEASED_AT, __version__
from release.licences import EXTRAS, PROJECT, closure, licence_of
from release.lock import Locked, read_lock

_NAMESPACE = uuid.uuid5(uuid.NAMESPACE_URL, "urn:gateway-bridge:sbom")


def needs_of(name: str, among: Mapping[str, object]) -> Iterator[str]:
    """Yield which of ``among`` a package needs here, whatever extras of it are used."""
    for text in distribution(name).requires or ():
        requirement = Requirement(text)
        inner = canonicalize_name(requirement.name)
        if inner in among and inner != name:
            yield inner


def _component(locked: Locked, scope: ComponentScope) -> Component:
    found = distribution(locked.name)
    if found.version != locked.version:
        raise SystemExit(f"{locked.name} {found.version} is installed, {locked.version} is locked: pip install -c")
    purl = PackageURL("pypi", None, locked.name, locked.version)
    component = Component(
        name=locked.name,
        version=locked.version,
        type=ComponentType.LIBRARY,
        scope=scope,
        purl=purl,
        bom_ref=BomRef(str(purl)),
    )
    if (licence := licence_of(found.metadata)) != "unknown":
        component.licenses.add(LicenseFactory().make_from_string(licence))
    if locked.marker:
        component.properties.add(Property(name=f"{PROJECT}:only-where", value=locked.marker))
    return component


def bill_of_materials() -> Bom:
    """Return the release's bill of materials. Ends the program where something else is installed than is locked."""
    lock = {locked.name: locked for locked in read_lock() if locked.is_for_here()}
    required = set(closure(PROJECT, ())) - {PROJECT}
    everything = sorted((required | set(closure(PROJECT, EXTRAS))) - {PROJECT})
    parts = {
        name: _component(lock[name], ComponentScope.REQUIRED if name in required else ComponentScope.OPTIONAL)
        for name in everything
    }
    ours = Component(
        name=PROJECT, version=__version__, type=ComponentType.APPLICATION, bom_ref=BomRef(f"{PROJECT}@{__version__}")
    )
    ours.licenses.add(DisjunctiveLicense(id="MIT"))
    bom = Bom(components=parts.values())
    bom.metadata.component = ours
    bom.metadata.timestamp = RELEASED_AT
    for name, part in {PROJECT: ours, **parts}.items():
        bom.register_dependency(part, [parts[inner] for inner in sorted(set(needs_of(name, parts)))])
    purls = "\n".join(str(parts[name].purl) for name in everything)
    bom.serial_number = uuid.uuid5(_NAMESPACE, f"{__version__}\n{purls}")
    return bom


def main() -> int:
    """Write the bill of materials where ``--out`` says."""
    parser = argparse.ArgumentParser(prog="make sbom", description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("dist") / f"{PROJECT}-{__version__}.bom.json")
    out = parser.parse_args().out
    bom = bill_of_materials()
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(JsonV1Dot6(bom).output_as_string(indent=2) + "\n")
    print(f"{out}: {len(bom.components)} components")
    return 0


if __name__ == "__main__":
    sys.exit(main())

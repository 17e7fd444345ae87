"""Licences of what is shipped: the gateway with everything that it needs, and what each extra adds.

Read from the metadata of the packages that are installed here, by the closure of requirements from pyproject.toml.
Licences that ask nothing of who runs or passes on the gateway but notices are allowed; so are those that ask for the
source of changed files of their own (MPL, EPL with its EDL alternative). Others need a reason below, or fail.
"""

import re
from collections.abc import Iterable, Iterator
from importlib import metadata

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from release.checklist import Verdict, failed, ok

PROJECT = "gateway-bridge"
EXTRAS = ("ble", "ble-sensors")
_ALLOWED = (
    *("MIT", "MIT-0", "MIT-CMU", "BSD", "Apache", "ISC", "Python Software Foundation", "PSF", "HPND", "Zlib"),
    *("Public Domain", "Unlicense", "0BSD", "CC0", "MPL", "Mozilla Public License", "Eclipse"),
)
_ALLOWED_PATTERN = re.compile("|".join(rf"\b{re.escape(name)}" for name in _ALLOWED), re.IGNORECASE)
_COPYLEFT = re.compile(r"\bA?L?GPL|GNU (?:Lesser |Affero )?General Public", re.IGNORECASE)
# Looked at, with the reason why it may be there.
REASONS = {
    "pyric": (
        "GPL-3.0, by bluetooth-auto-recovery in the extra ble: an image or bundle with that extra is passed on under "
        "the GPL's terms; the gateway alone is not"
    ),
}


def of_what_is_shipped() -> Verdict:
    """Fail on a licence that is not allowed, unknown, or without a reason."""
    base = set(closure(PROJECT, ()))
    lines, bad = [], []
    for scope, names in _scopes(base):
        judged = [(name, licence_of(metadata.distribution(name).metadata)) for name in sorted(names)]
        bad += [f"{name}: {licence}" for name, licence in judged if not is_allowed(licence) and name not in REASONS]
        excused = [
            f"{name} ({REASONS[name]})" for name, licence in judged if not is_allowed(licence) and name in REASONS
        ]
        lines.append(f"{scope}: {len(judged)} packages{''.join(f'; but for {one}' for one in excused)}")
    if bad:
        return failed("\n".join(bad))
    return ok("\n".join(lines))


def is_allowed(licence: str) -> bool:
    """Return whether a licence, as metadata tells it, is one of those that ask for no more than we give."""
    return bool(_ALLOWED_PATTERN.search(licence)) and not _COPYLEFT.search(licence)


def licence_of(found: metadata.PackageMetadata) -> str:
    """Return the licence that a package's metadata tells: the expression, else the classifiers, else the text."""
    for expression in found.get_all("License-Expression") or ():
        return str(expression)
    classifiers = [line.rpartition(" :: ")[2] for line in found.get_all("Classifier") or () if _is_licence(line)]
    text = "".join(found.get_all("License") or ()).strip().partition("\n")[0]
    return ", ".join([*classifiers, *([text] if text else [])]) or "unknown"


def _is_licence(classifier: str) -> bool:
    return classifier.startswith("License :: ") and not classifier.endswith(":: OSI Approved")


def _scopes(base: set[str]) -> Iterator[tuple[str, set[str]]]:
    yield "the gateway", base
    for extra in EXTRAS:
        yield f"extra {extra} adds", set(closure(PROJECT, (extra,))) - base


def closure(project: str, extras: Iterable[str]) -> Iterator[str]:
    """Yield the names of all that a project needs here, itself first."""
    seen: set[tuple[str, str]] = set()
    todo = [(canonicalize_name(project), extra) for extra in ("", *extras)]
    names: set[str] = set()
    while todo:
        name, extra = todo.pop()
        if (name, extra) in seen:
            continue
        seen.add((name, extra))
        if name not in names:
            names.add(name)
            yield name
        for text in metadata.distribution(name).requires or ():
            needed = Requirement(text)
            if needed.marker is None or needed.marker.evaluate({"extra": extra}):
                todo += [(canonicalize_name(needed.name), inner) for inner in ("", *needed.extras)]

"""``python -m release``: the list before a release, printed line by line; exit code 1 unless every line is ok."""

import argparse
import sys
from functools import partial
from pathlib import Path

from release import bare_root, import_time, licences, packages, version
from release.checklist import Check, Verdict, go_through, ok

ROOT = Path(__file__).resolve().parents[1]


def checks(*, with_bare_root: bool) -> tuple[Check, ...]:
    """Return the list."""
    return (
        Check(name="one version", run=partial(version.same_version, ROOT)),
        Check(name="dated", run=partial(version.dated, ROOT, today=version.today())),
        Check(name="committed", run=partial(version.committed, ROOT)),
        Check(name="licences", run=licences.of_what_is_shipped),
        Check(name="bill of materials", run=partial(packages.bill_of_materials, ROOT)),
        Check(name="packages", run=partial(packages.built, ROOT)),
        Check(name="import time", run=partial(import_time.measured, ROOT)),
        Check(
            name="README in a bare Debian",
            run=partial(bare_root.readme_works, ROOT) if with_bare_root else _readme_planned,
        ),
    )


def _readme_planned() -> Verdict:
    if strangers := bare_root.unplanned((ROOT / "README.md").read_text()):
        return Verdict(is_ok=False, facts=f"README has commands that nobody tries: {', '.join(strangers)}")
    return ok("every command is planned; not tried (FLAGS=--bare-root tries them, some minutes, as root)")


def main() -> None:
    """Go through the list."""
    parser = argparse.ArgumentParser(prog="python -m release", description=__doc__)
    parser.add_argument("--bare-root", action="store_true", help="try README's commands in a fresh Debian root")
    arguments = parser.parse_args()
    sys.exit(0 if go_through(checks(with_bare_root=arguments.bare_root), lambda line: print(line, flush=True)) else 1)


if __name__ == "__main__":
    main()

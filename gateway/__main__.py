"""``python -m gateway`` and the ``gateway`` command."""

import os
import sys

UNSUPERVISED = "--unsupervised"


def main() -> None:
    """Run the command line; ``gateway run`` becomes the tiny parent that starts the gateway again when it crashes."""
    arguments = sys.argv[1:]
    if arguments[:1] == ["run"] and not {UNSUPERVISED, "--help"} & set(arguments):
        worker = [sys.executable, "-m", "gateway", *arguments, UNSUPERVISED]
        os.execv(sys.executable, [sys.executable, "-m", "gateway.respawn", *worker])  # noqa: S606  our own interpreter
    from gateway.cli import cli

    cli()


if __name__ == "__main__":
    main()

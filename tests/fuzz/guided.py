"""One target under atheris: ``python -m tests.fuzz.guided NAME [libFuzzer's arguments and corpus folders]``."""

import sys

import atheris


def main() -> None:
    name = sys.argv.pop(1)
    # Only what is ours and what parses is instrumented: all of NumPy and pydantic would take minutes to load.
    with atheris.instrument_imports(include=["adapters", "gateway", "h11", "python_multipart"]):
        from tests.fuzz.targets import TARGETS

    atheris.Setup(sys.argv, TARGETS[name].run)
    atheris.Fuzz()


if __name__ == "__main__":
    main()

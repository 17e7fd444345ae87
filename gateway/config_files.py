"""``gateway config init``: the packaged ``config`` folder, copied out for an operator to change."""

from collections.abc import Iterator
from importlib.resources import as_file, files
from pathlib import Path

from gateway.errors import OperatorError

# The package's own Python, and what it leaves behind: not for operators.
_NOT_SHIPPED = frozenset({"__init__.py", "__pycache__"})


def write_config_files(folder: Path, *, force: bool = False) -> tuple[Path, ...]:
    """Copy the packaged settings file, its schema, models and manifests to ``folder``; return what was written.

    Raises OperatorError, and has written nothing, when a file is there already and ``force`` is false, or when
    ``folder`` can't be written.
    """
    with as_file(files("config")) as source:
        wanted = {folder / file.relative_to(source): file for file in _shipped(source)}
        present = [target for target in wanted if target.exists()]
        if present and not force:
            names = ", ".join(str(target) for target in present[:5]) + (", ..." if len(present) > 5 else "")
            raise OperatorError(f"{len(present)} files exist already: {names}. Name another folder, or add --force.")
        for target, file in wanted.items():
            _write(target, file.read_bytes())
    return tuple(wanted)


def _shipped(source: Path) -> Iterator[Path]:
    for path in sorted(source.rglob("*")):
        if path.is_file() and _NOT_SHIPPED.isdisjoint(path.relative_to(source).parts):
            yield path


def _write(target: Path, content: bytes) -> None:
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)
    except OSError as error:
        reason = (error.strerror or "unknown reason").lower()
        raise OperatorError(f"can't write {target}: {reason}. Name a folder that you may write to.") from error

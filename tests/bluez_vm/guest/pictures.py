"""Pictures that a model never saw, with what is to be seen on them: each is used once."""

from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

FOLDER = Path(__file__).resolve().parents[2] / "data" / "unseen-fruit"


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    data: bytes
    label: str

    @property
    def sha256(self) -> str:
        return sha256(self.data).hexdigest()


class Film:
    """Ripe and unripe in turn. Iterating takes the next; ``taken`` are those that cameras have photographed."""

    def __init__(self) -> None:
        self._files = iter(sorted(FOLDER.glob("*.jpg")))
        self.taken: list[Picture] = []

    def __iter__(self) -> Iterator[bytes]:
        for file in self._files:
            # Named like 004-banana-ripe.jpg.
            picture = Picture(data=file.read_bytes(), label=file.stem.rsplit("-", 1)[-1])
            self.taken.append(picture)
            yield picture.data

    @property
    def newest(self) -> Picture:
        return self.taken[-1]

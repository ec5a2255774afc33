"""A user's own ROMs, put where stable-retro looks for them. Headstart has none and fetches none.

A file is known by the SHA-1 of its content, whatever it is called; zip files are looked into.
"""

import difflib
import hashlib
import lzma
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal, NamedTuple

from headstart.errors import RunError, UsageError
from headstart.hosts.retro import library

SONIC = ("SonicTheHedgehog-Genesis-v0", "SonicTheHedgehog2-Genesis-v0", "SonicAndKnuckles3-Genesis-v0")
"""the games of retro-sonic-v0"""

_LARGEST = 1 << 25
"""bytes of a ROM at most"""


_UNREADABLE = (
    OSError,
    EOFError,
    RuntimeError,
    NotImplementedError,
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
)
"""what files raise that cannot be read, and zips that are damaged, encrypted, or compressed in some unknown way"""


class Known(NamedTuple):
    """A game that a hash belongs to, and where its ROM is to lie."""

    game: str
    path: Path


@dataclass(frozen=True)
class Found:
    """What was made of one file."""

    file: str
    what: Literal["imported", "there already", "unknown", "unreadable", "too large"]
    game: str = ""
    """the game it is, or, of an unknown file, the one it may be meant for"""
    sha: str = ""
    """SHA-1 of its content"""
    expected: tuple[str, ...] = ()
    """SHA-1 of the ROMs known for that game"""

    def __str__(self) -> str:
        if self.what == "unreadable":
            return f"{self.file}: cannot be read"
        if self.what == "too large":
            return f"{self.file}: too large for a ROM (more than {_LARGEST >> 20} MiB)"
        if self.what != "unknown":
            return f"{self.file}: {self.game}, {self.what}"
        meant = f"; for {self.game} it would be {' or '.join(self.expected)}" if self.game else ""
        return f"{self.file}: no game has a ROM of SHA-1 {self.sha}{meant}"


def known() -> dict[str, Known]:
    """Every ROM that stable-retro knows, by SHA-1."""
    hashes: dict[str, tuple[str, str, str]] = library().data.get_known_hashes()
    return {
        sha: Known(game, Path(folder) / game / f"rom{extension}")
        for sha, (game, extension, folder) in hashes.items()
    }


def expected(game: str) -> tuple[str, ...]:
    """The SHA-1s of the ROMs that are known for a game."""
    return tuple(sha for sha, entry in known().items() if entry.game == game)


def imported() -> list[str]:
    """The games whose ROM is there."""
    root = Path(library().data.path())
    return sorted(
        {path.parent.name for path in root.glob("*/*/rom.*") if path.suffix not in (".sha", ".json")}
    )


def take(folder: Path) -> list[Found]:
    """Put every ROM of a folder, at any depth, where stable-retro looks for it.

    Raises:
      UsageError: if there is no such folder or no file in it.
      RunError: if the ROMs cannot be written there.
    """
    if not folder.exists():
        raise UsageError(f"there is no folder {folder}; name the one that holds your ROMs.")
    files = sorted(path for path in ([folder] if folder.is_file() else folder.rglob("*")) if path.is_file())
    if not files:
        raise UsageError(f"the folder {folder} holds no files; put your ROMs there.")
    games = known()
    return [found for path in files for found in _take(path, games)]


def _take(path: Path, games: dict[str, Known]) -> Iterator[Found]:
    """What was made of a file, or of each in a zip."""
    try:
        if not zipfile.is_zipfile(path):
            yield _found(path.name, path.stat().st_size, path.read_bytes, games)
            return
        with zipfile.ZipFile(path) as archive:
            for item in archive.infolist():
                if not item.is_dir():
                    name, read = f"{path.name}/{item.filename}", partial(archive.read, item)
                    yield _found(name, item.file_size, read, games)
    except (OSError, zipfile.BadZipFile):
        yield Found(path.name, "unreadable")


def _found(name: str, size: int, read: Callable[[], bytes], games: dict[str, Known]) -> Found:
    """What was made of a file of `size` bytes that can be read once."""
    if size > _LARGEST:
        return Found(name, "too large")
    try:
        content = read()
    except _UNREADABLE:
        return Found(name, "unreadable")
    return _place(name, content, games)


def _place(name: str, content: bytes, games: dict[str, Known]) -> Found:
    """One ROM into its place."""
    for rom in _readings(name, content):
        sha = hashlib.sha1(rom).hexdigest()
        if sha in games:
            game, place = games[sha]
            if place.exists() and place.read_bytes() == content:
                return Found(name, "there already", game, sha)
            try:
                place.write_bytes(rom if name.lower().endswith(".smd") else content)
            except OSError as error:
                raise RunError(f"{place} cannot be written ({error.strerror}).") from error
            return Found(name, "imported", game, sha)
    sha = hashlib.sha1(content).hexdigest()
    stems: dict[str, str] = {}
    for entry in sorted(games.values(), key=lambda entry: entry.path.suffix == Path(name).suffix.lower()):
        stems[entry.game.split("-")[0].lower()] = (
            entry.game
        )  # of two consoles' the one whose files are called so
    stem = "".join(c for c in Path(name).stem.lower().split("(")[0] if c.isalnum())
    near = difflib.get_close_matches(stem, stems, n=1, cutoff=0.75)
    meant = stems[near[0]] if near else ""
    hashes = tuple(known for known, entry in games.items() if entry.game == meant)
    return Found(name, "unknown", meant, sha, hashes)


def _readings(name: str, content: bytes) -> Iterator[bytes]:
    """What of a file its hash may be of: all of it, without an NES header, or unscrambled from an SMD dump."""
    yield content
    if content[:4] == b"NES\x1a":
        yield content[16:]
    if name.lower().endswith(".smd"):
        yield _plain(content[512:])


def _plain(body: bytes) -> bytes:
    """A Super Magic Drive dump in order: of each 16 KiB the first half holds the odd bytes, the second the even ones.

    >>> _plain(b"b" * 8192 + b"a" * 8192)[:4]
    b'abab'
    """
    rom = bytearray(len(body))
    for low in range(0, len(body) - 0x3FFF, 0x4000):
        rom[low + 1 : low + 0x4000 : 2] = body[low : low + 0x2000]
        rom[low : low + 0x4000 : 2] = body[low + 0x2000 : low + 0x4000]
    return bytes(rom)

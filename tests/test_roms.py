"""`headstart roms import` and save states, as far as they go without the emulator: what cannot be read, or written."""

import hashlib
import importlib.util
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from headstart.errors import RunError, UsageError
from headstart.hosts import retro, roms
from headstart.suites import suite

ROM = b"a game" * 100


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the ROM of the only game there is belongs."""
    place = tmp_path / "library" / "rom.md"
    place.parent.mkdir()
    known = {hashlib.sha1(ROM).hexdigest(): roms.Known("Game-Genesis-v0", place)}
    monkeypatch.setattr(roms, "known", lambda: known)
    (tmp_path / "in").mkdir()
    return place


def zipped(path: Path, method: int) -> int:
    """A zip of two files, `a.md`, whose packed bytes it returns the place of, and the ROM."""
    with zipfile.ZipFile(path, "w", method) as archive:
        archive.writestr("a.md", b"another game" * 500)
        archive.writestr("b.md", ROM)
        return archive.infolist()[0].header_offset + 34  # 30 bytes of header, 4 of name


@pytest.mark.parametrize(
    "method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA]
)
def test_what_is_damaged_in_a_zip_is_told_and_the_rest_imported(place: Path, method: int) -> None:
    """A packed file that is overwritten: the checksum is wrong, or what unpacks it gives up, each in its own words."""
    folder = place.parents[1] / "in"
    at = zipped(folder / "games.zip", method)
    data = bytearray((folder / "games.zip").read_bytes())
    data[at + 4 : at + 20] = b"\xff" * 16
    (folder / "games.zip").write_bytes(data)
    (folder / "last.md").write_bytes(b"no game")
    found = {one.file: one.what for one in roms.take(folder)}
    assert found == {"games.zip/a.md": "unreadable", "games.zip/b.md": "imported", "last.md": "unknown"}
    assert place.read_bytes() == ROM


def test_a_rom_that_cannot_be_written_ends_the_import_in_a_sentence(place: Path) -> None:
    place.parent.rmdir()
    (place.parents[1] / "in" / "a.md").write_bytes(ROM)
    with pytest.raises(RunError, match=r"rom.md cannot be written \(No such file or directory\)"):
        roms.take(place.parents[1] / "in")


def test_files_too_large_for_a_rom_are_told(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(roms, "_LARGEST", 1 << 20)
    folder = place.parents[1] / "in"
    (folder / "film.mp4").write_bytes(bytes((1 << 20) + 1))
    with zipfile.ZipFile(folder / "films.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.write(folder / "film.mp4", "inner.mp4")
    said = [str(one) for one in roms.take(folder)]
    assert said == [
        f"{name}: too large for a ROM (more than 1 MiB)" for name in ("film.mp4", "films.zip/inner.mp4")
    ]


@pytest.mark.parametrize("ask", [lambda: suite("retro:Airstriker-Genesis-v0"), roms.imported, retro.library])
def test_without_the_extra_the_command_that_installs_it_is_named(
    ask: Callable[[], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    retro.library.cache_clear()
    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util,
        "find_spec",
        lambda name, *more: None if name == "stable_retro" else found(name, *more),
    )
    with pytest.raises(UsageError, match=r"need the extra `retro`: pip install 'headstart\[retro\]'"):
        ask()


class Library:
    """As much of stable-retro as looking for a save state asks for."""

    class data:  # noqa: N801
        @staticmethod
        def list_states(game: str) -> list[str]:
            return ["Level1"]


def test_a_missing_or_damaged_save_state_of_a_folder_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retro, "library", lambda: Library)
    (tmp_path / "state000.state").write_bytes(b"\x1f\x8b\x08" + bytes(7) + b"\xff" * 20)
    with pytest.raises(UsageError, match=r"state000.state is no save state, or a damaged one"):
        retro.read_state("Game", "state000", str(tmp_path))
    with pytest.raises(UsageError, match="did you mean state000"):
        retro.read_state("Game", "state001", str(tmp_path))

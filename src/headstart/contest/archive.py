"""A submission's archive: packed by its author, unpacked by the server, which trusts nothing in it.

An archive is a ZIP of plain files with `submission.toml` at its top. Refused with a sentence, before anything is kept:
absolute names, `..`, backslashes, control characters, two names that differ only in case, links, devices, encryption, and
more files, more bytes or a higher ratio of compression than `Limits` allows. Sizes are those that come out of the
decompressor, not those the archive claims, so that a bomb ends after a chunk too many.
"""

import errno
import io
import shutil
import stat
import struct
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from headstart.errors import UsageError

MANIFEST = "submission.toml"
"""the file that every submission has at its top"""

_CHUNK = 1 << 16
_SKIPPED = {"__pycache__", ".git", ".venv", ".pytest_cache", ".ruff_cache", ".ipynb_checkpoints"}
_METHODS = {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}
_OURS = {errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS, errno.ENOMEM, errno.EMFILE, errno.ENFILE}
"""failures to write that are no archive's fault"""
_UNREADABLE = (
    zipfile.BadZipFile,
    zlib.error,
    EOFError,
    NotImplementedError,
    OSError,
    ValueError,
    RuntimeError,
)
"""what archives raise that are damaged, or made in a way that is not known here"""
_EPOCH = (1980, 1, 1, 0, 0, 0)
_END = struct.Struct("<12xL4xH")
"""bytes of the directory and of the comment, in the record that ends an archive"""
_END64 = struct.Struct("<40xQ8x")
"""bytes of the directory, in ZIP64's record"""
_SLACK = 1 << 20  # bytes that may come out of a small archive, however well it packs


@dataclass(frozen=True)
class Limits:
    """How large an archive may be."""

    packed: int = 64 << 20
    """bytes of the archive"""
    unpacked: int = 256 << 20
    """bytes of all files together"""
    files: int = 2000
    """entries, folders among them"""
    ratio: float = 50.0
    """unpacked bytes a packed byte, over the whole archive; a mebibyte is always allowed"""
    name: int = 200
    """characters of an entry's name"""
    depth: int = 12
    """folders within folders"""

    @classmethod
    def of(cls, packed: int) -> "Limits":
        """Limits of archives of so many bytes, whose files may be four times as many."""
        return cls(packed=packed, unpacked=4 * packed)


def _size(count: int) -> str:
    """Bytes for people.

    >>> _size(64 << 20)
    '64 MiB'
    """
    return f"{count / (1 << 20):g} MiB" if count >= 1 << 20 else f"{count} bytes"


def pack(folder: Path, limits: Limits | None = None) -> bytes:
    """A folder as an archive, the same bytes for the same files; caches and hidden folders are left out.

    Raises:
      UsageError: if there is no `submission.toml`, a link, or more than the server would take.
    """
    limits = limits or Limits()
    if not (folder / MANIFEST).is_file():
        raise UsageError(f"{folder} has no {MANIFEST}; headstart contest init writes a folder that has one.")
    files = sorted(
        path
        for path in folder.rglob("*")
        if not _SKIPPED.intersection(path.relative_to(folder).parts)
        and (path.is_symlink() or not path.is_dir())
    )
    if len(files) > limits.files:
        raise UsageError(f"{folder} has {len(files)} files, at most {limits.files} can be sent.")
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in files:
            if path.is_symlink() or not path.is_file():
                raise UsageError(f"{path} is a link or a device; a submission holds plain files only.")
            entry = zipfile.ZipInfo(path.relative_to(folder).as_posix(), _EPOCH)
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.external_attr = (stat.S_IFREG | 0o644) << 16
            archive.writestr(entry, path.read_bytes())
    data = buffer.getvalue()
    if len(data) > limits.packed:
        raise UsageError(f"{folder} packs to {_size(len(data))}, at most {_size(limits.packed)} can be sent.")
    return data


def _safe_name(name: str, limits: Limits) -> PurePosixPath:
    """An entry's name as a path below the folder, or a refusal."""
    path = PurePosixPath(name)
    shown = ascii(name[:60])
    if not name or len(name) > limits.name or any(ord(c) < 32 or c in '\\:*?"<>|' for c in name):
        raise UsageError(
            f"the archive has an entry {shown}, whose name is empty, too long or no plain file's."
        )
    if path.is_absolute() or ".." in path.parts or not path.parts:
        raise UsageError(f"the archive has an entry {shown}, which leads out of its folder.")
    if len(path.parts) > limits.depth:
        raise UsageError(f"the archive has an entry {shown} more than {limits.depth} folders deep.")
    return path


def _entries(archive: zipfile.ZipFile, limits: Limits) -> list[tuple[zipfile.ZipInfo, PurePosixPath]]:
    """All entries, each with the path it may be written to; nothing has been unpacked yet."""
    found: list[tuple[zipfile.ZipInfo, PurePosixPath]] = []
    seen: set[str] = set()
    for entry in archive.infolist():
        path = _safe_name(entry.filename, limits)
        shown = ascii(entry.filename[:60])
        kind = stat.S_IFMT(entry.external_attr >> 16)
        if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
            raise UsageError(
                f"the archive's entry {shown} is a link or a device; only plain files are allowed."
            )
        if entry.flag_bits & 0x1 or entry.compress_type not in _METHODS:
            raise UsageError(f"the archive's entry {shown} is encrypted or packed in an unusual way.")
        if str(path).casefold() in seen:
            raise UsageError(f"the archive has {shown} twice, or names that differ only in case.")
        seen.add(str(path).casefold())
        found.append((entry, path))
    if MANIFEST not in {str(path) for _, path in found}:
        raise UsageError(f"the archive has no {MANIFEST} at its top.")
    return found


def _allowed(packed: int, limits: Limits) -> int:
    """Bytes that may come out of an archive of `packed` bytes."""
    return min(limits.unpacked, max(_SLACK, int(limits.ratio * packed)))


def _write(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, target: Path, left: int) -> int:
    """Unpack one file; what is left to be unpacked afterwards.

    Raises:
      UsageError: as soon as more than `left` bytes have come out.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    with archive.open(entry) as source, target.open("xb") as sink:
        while chunk := source.read(_CHUNK):
            left -= len(chunk)
            if left < 0:
                raise UsageError("the archive unpacks to more than is allowed for its size.")
            sink.write(chunk)
    return left


def _directory(data: bytes) -> bytes:
    """The directory of an archive, as `zipfile` will find it by the records at the archive's end.

    Records that another reader might understand in another way are refused: bytes after the last, or a ZIP64 record that is
    not where it should be.

    Raises:
      BadZipFile: if there is no directory.
    """
    end = data.rfind(b"PK\5\6")
    if end < 0 or len(data) < end + _END.size:
        raise zipfile.BadZipFile
    size, comment = _END.unpack_from(data, end)
    if len(data) != end + _END.size + comment:
        raise zipfile.BadZipFile
    if end >= 20 and data[end - 20 :].startswith(b"PK\6\7"):
        end -= 20 + _END64.size
        if end < 0 or not data[end:].startswith(b"PK\6\6"):
            raise zipfile.BadZipFile
        (size,) = _END64.unpack_from(data, end)
    if size > end:
        raise zipfile.BadZipFile
    return data[end - size : end]


def _opened(data: bytes, limits: Limits) -> zipfile.ZipFile:
    """An archive whose directory is not too long: `zipfile` makes an object of each entry before it can be asked how many.

    Raises:
      UsageError: if the archive is too large, or has too many entries.
      BadZipFile: if it is none.
    """
    if len(data) > limits.packed:
        raise UsageError(f"the archive has {_size(len(data))}, at most {_size(limits.packed)} are allowed.")
    count = _directory(data).count(b"PK\1\2")  # what every entry begins with
    if count > limits.files:
        raise UsageError(f"the archive has {count} entries, at most {limits.files} are allowed.")
    return zipfile.ZipFile(io.BytesIO(data))


def unpack(data: bytes, folder: Path, limits: Limits | None = None) -> None:
    """Unpack a stranger's archive into `folder`, which must not exist; after a refusal it does not exist either.

    Raises:
      UsageError: for anything that `Limits` or the rules of the module forbid, in one sentence.
      OSError: if this machine cannot hold it, whatever it is.
    """
    limits = limits or Limits()
    folder.mkdir(parents=True)
    try:
        with _opened(data, limits) as archive:
            left = _allowed(len(data), limits)
            for entry, path in _entries(archive, limits):
                if entry.is_dir():
                    (folder / path).mkdir(parents=True, exist_ok=True)
                else:
                    left = _write(archive, entry, folder / path, left)
    except UsageError:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    except _UNREADABLE as error:
        shutil.rmtree(folder, ignore_errors=True)
        if isinstance(error, OSError) and error.errno in _OURS:
            raise
        raise UsageError("the archive is no readable ZIP file.") from None


def check(data: bytes, limits: Limits | None = None) -> None:
    """Refuse what `unpack` would refuse by its names and claims, without writing anything."""
    limits = limits or Limits()
    try:
        with _opened(data, limits) as archive:
            claimed = sum(entry.file_size for entry, _ in _entries(archive, limits))
    except _UNREADABLE as error:
        if isinstance(error, UsageError):
            raise
        raise UsageError("the archive is no readable ZIP file.") from None
    if claimed > _allowed(len(data), limits):
        raise UsageError("the archive unpacks to more than is allowed for its size.")

"""A file of feedback as people have it, as one stream of UTF-8 bytes: plain, gzip or UTF-16, with
or without a byte order mark, from a path or from standard input.
"""

from __future__ import annotations

import codecs
import gzip
import io
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, TypeAlias

from negalign_train.vocabulary.errors import FeedbackError

STANDARD_INPUT = Path("-")
_HEAD_BYTES = 1 << 16
_CHUNK_BYTES = 1 << 20
_GZIP = b"\x1f\x8b"
_UTF8_BOM = codecs.BOM_UTF8
_OTHER_KINDS = {
    b"PK\x03\x04": "a ZIP archive or an Excel workbook: unpack it, or save the sheet as CSV",
    b"BZh": "compressed by bzip2: unpack it, or use gzip",
    b"\xfd7zXZ": "compressed by xz: unpack it, or use gzip",
    b"\x28\xb5\x2f\xfd": "compressed by zstd: unpack it, or use gzip",
    b"PAR1": "a Parquet file: write it as JSON Lines first",
    b"SQLite format 3": "a database: export the events first",
    b"%PDF": "a PDF: export text",
    b"\xd0\xcf\x11\xe0": "an old Excel or Word file: save the sheet as CSV",
}

Spool: TypeAlias = "tempfile._TemporaryFileWrapper[bytes]"


@dataclass(frozen=True)
class InputFile:
    """One file to import. ``origin`` is how the log names it; ``encoding`` how it is written.

    ``name`` ends as the file's name does without ``.gz``. ``spool`` holds what came through
    standard input, which can be read only once.
    """

    path: Path
    origin: str
    name: str
    zipped: bool
    encoding: str
    spool: Spool | None = None

    @contextmanager
    def stream(self) -> Iterator[BinaryIO]:
        """The text from its beginning, as UTF-8 without a byte order mark.

        Raises:
            FeedbackError: the file cannot be read, or is damaged.
        """
        try:
            with _opened(self.path, self.spool) as raw:
                plain = _decoded(_unzipped(raw, self.zipped), self.encoding)
                if plain.peek(3)[:3] == _UTF8_BOM:
                    plain.read(3)
                yield plain
        except UnicodeDecodeError as error:
            raise FeedbackError(
                f"{self.path}: is not {self.encoding} all through; save it as UTF-8"
            ) from error
        except (OSError, EOFError) as error:
            raise _unreadable(self.path, error) from error

    def head(self) -> str:
        """The first 64 KiB of the text."""
        with self.stream() as stream:
            return stream.read(_HEAD_BYTES).decode("utf-8", "replace")


def open_input(path: Path) -> InputFile:
    """What ``path`` (``-``: standard input) is and how it is written. A folder is an Argilla
    dataset on disk and stands for the ``records.json`` in it.

    Raises:
        FeedbackError: no such file, or a kind that is not read here, with what to do about it.
    """
    if path.is_dir():
        path = path / "records.json"
    from_stdin = path == STANDARD_INPUT
    try:
        spool = _spooled(sys.stdin.buffer) if from_stdin else None
        with _opened(path, spool) as raw:
            zipped = raw.peek(2)[:2] == _GZIP
            head = _unzipped(raw, zipped).peek(_HEAD_BYTES)[:_HEAD_BYTES]
    except (OSError, EOFError) as error:
        raise _unreadable(path, error) from error
    for magic, kind in _OTHER_KINDS.items():
        if head.startswith(magic):
            raise FeedbackError(f"{path}: is {kind}; nothing was imported")
    return InputFile(
        path=path,
        origin="standard input" if from_stdin else str(path.resolve()),
        name=path.name.removesuffix(".gz"),
        zipped=zipped,
        encoding=_encoding(head),
        spool=spool,
    )


def _encoding(head: bytes) -> str:
    """By byte order mark; without one by where the zero bytes of ASCII characters stand."""
    if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        # The mark of UTF-32, little endian, begins with that of UTF-16.
        return "utf-32" if head.startswith(codecs.BOM_UTF32_LE) else "utf-16"
    start = head[:200]
    zeros = {parity: start[parity::2].count(0) * 4 > len(start) for parity in (0, 1)}
    if zeros[1] and not zeros[0]:
        return "utf-16-le"
    return "utf-16-be" if zeros[0] and not zeros[1] else "utf-8"


def _spooled(stream: BinaryIO) -> Spool:
    """Standard input in a private file, so that it can be read more than once; it goes with the
    process.
    """
    spool = tempfile.NamedTemporaryFile(prefix="negalign-")  # noqa: SIM115  lives on
    shutil.copyfileobj(stream, spool, _CHUNK_BYTES)
    spool.flush()
    return spool


@contextmanager
def _opened(path: Path, spool: Spool | None) -> Iterator[io.BufferedReader]:
    file = path if spool is None else Path(spool.name)
    with file.open("rb", buffering=_CHUNK_BYTES) as stream:
        assert isinstance(stream, io.BufferedReader)
        yield stream


def _unzipped(raw: io.BufferedReader, zipped: bool) -> io.BufferedReader:
    if not zipped:
        return raw
    unpacked: io.RawIOBase = gzip.GzipFile(fileobj=raw)  # type: ignore[assignment]
    return io.BufferedReader(unpacked, _CHUNK_BYTES)


def _decoded(raw: io.BufferedReader, encoding: str) -> io.BufferedReader:
    return raw if encoding == "utf-8" else io.BufferedReader(_Recoded(raw, encoding), _CHUNK_BYTES)


class _Recoded(io.RawIOBase):
    """A stream in another encoding, read as UTF-8."""

    def __init__(self, raw: io.BufferedReader, encoding: str) -> None:
        self._raw = raw
        self._decoder = codecs.getincrementaldecoder(encoding)("strict")
        self._rest = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        while not self._rest:
            block = self._raw.read(_HEAD_BYTES)
            self._rest = self._decoder.decode(block, final=not block).encode("utf-8")
            if not block:
                break
        part, self._rest = self._rest[: len(buffer)], self._rest[len(buffer) :]
        buffer[: len(part)] = part
        return len(part)


def _unreadable(path: Path, error: OSError | EOFError) -> FeedbackError:
    reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return FeedbackError(
        f"{path}: cannot be read ({reason}); give a file, or - for standard input. "
        "Nothing was imported"
    )

"""One pass over the bytes of a landed file, before any engine reads it: hashes, counts, and reasons to refuse it.

DuckDB does not check the CRC of gzip and does not say where a bad line stands; this module does both. What was inflated once
may be kept as a plain copy for the readers. Inflating is ISA-L's, three times as fast as zlib's and as strict.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from io import BytesIO, RawIOBase
from pathlib import Path
from typing import IO, Any

from isal import igzip, isal_zlib

from pipelines.errors import Refused

CHUNK = 1 << 20
LOOK = 1 << 16  # bytes at once where a few lines are looked for
SHORT = 128  # bytes of a line below which it costs more to hold each line than to search
MAX_LINE, MAX_DOCUMENT = 16 << 20, 64 << 20  # bytes; a document is often one line
MAX_CONTENT = 20 << 30  # bytes after decompression
MAX_RATIO, RATIO_FROM = 200, 64 << 20  # a ratio is judged after so many bytes
BLANK = re.compile(rb"\n[ \t\r\f\v]*(?=\n)")  # a line that says nothing, after another line
BOM = b"\xef\xbb\xbf"
DAMAGED = (EOFError, igzip.BadGzipFile, isal_zlib.error)  # what reading a gzip file raises that is cut off or altered


@dataclass(frozen=True)
class Content:
    """What one file holds. `lines` and `blank` are 0 for Parquet."""

    file_sha256: str  # of the bytes as landed
    sha256: str  # of the decompressed content
    lines: int
    blank: int
    bom: bool
    size: int = 0  # bytes of the decompressed content; 0 for Parquet
    plain: Path | None = None  # a scratch copy of the decompressed content


def inspect(path: Path, place: str, max_line: int = MAX_LINE, plain: Path | None = None, room: int = 0, may_be_empty: bool = False) -> Content:
    """Read the whole file once. Refused: empty (unless it may be), damaged or oversized files, and text that is not text.

    A gzip file's content is written to `plain` on the way, unless it needs more than `room` bytes.
    """
    if path.stat().st_size == 0 and not (may_be_empty and path.suffix == ".jsonl"):
        raise Refused("the file is empty", place, "deliver it again, whole, or remove it")
    if path.name.endswith(".parquet"):
        digest = _digest(path)
        return Content(digest, digest, 0, 0, False)
    with open(path, "rb") as raw:
        hashed = _Hashing(raw)
        packed = path.name.endswith(".gz")
        content = hashlib.sha256()
        lines = blank = size = 0
        bom = False
        open_size, open_blank = 0, True  # of the line that is not whole yet
        copy = _Copy(plain, room) if plain and packed else None
        try:
            for chunk in _chunks(igzip.IGzipFile(fileobj=hashed, mode="rb") if packed else hashed):
                bom = bom or (size == 0 and chunk.startswith(BOM))
                size += len(chunk)
                content.update(chunk)
                if copy:
                    copy.write(chunk)
                _judge(chunk, size, hashed.size if packed else size, place)
                first, last = chunk.find(b"\n"), chunk.rfind(b"\n")
                longest = open_size + (first if first >= 0 else len(chunk))  # a line inside a chunk is shorter than the limit
                if longest > max_line:
                    fix = "deliver one record per line" if max_line == MAX_LINE else "deliver it in smaller files"
                    raise Refused(f"a line longer than {max_line >> 20} MB", place, fix)
                if first >= 0:
                    whole, nothing = _whole_lines(chunk, first, last)
                    lines += 1 + whole
                    blank += nothing + (open_blank and not chunk[:first].strip())
                    open_size, open_blank = 0, True
                open_size += len(chunk) - last - 1
                open_blank = open_blank and not chunk[last + 1 :].strip()
        except DAMAGED:
            raise Refused("the gzip file is cut off or damaged", place, "deliver it again, whole") from None
        finally:
            if copy:
                copy.close()
    if open_size:
        lines += 1
        blank += open_blank
    return Content(hashed.digest.hexdigest(), content.hexdigest(), lines, blank, bom, size, plain if copy and copy.whole else None)


def _whole_lines(chunk: bytes, first: int, last: int) -> tuple[int, int]:
    """How many lines stand between the first and the last line end of a chunk, and how many of them are blank."""
    if first == last:
        return 0, 0
    if chunk.count(b"\n", first, first + LOOK) > LOOK // SHORT:
        return chunk.count(b"\n", first + 1), len(BLANK.findall(chunk, first, last + 1))
    text = BytesIO(chunk)
    text.seek(first + 1)
    whole = text.readlines(last - first)  # of long lines eight times as fast as a look at every byte
    return len(whole), sum(map(bytes.isspace, whole))


def _judge(chunk: bytes, size: int, packed_size: int, place: str) -> None:
    if b"\0" in chunk:
        raise Refused("NUL bytes: not UTF-8 text", place, "export the file as UTF-8")
    if size > MAX_CONTENT:
        raise Refused(f"more than {MAX_CONTENT >> 30} GB of content", place, "deliver it in smaller files")
    if size > RATIO_FROM and size > packed_size * MAX_RATIO:
        raise Refused(f"expands more than {MAX_RATIO} times", place, "deliver it uncompressed if it is genuine")


@dataclass(frozen=True)
class Line:
    """Where a physical line stands in the decompressed content, and the hash of its bytes without the line end."""

    number: int
    offset: int
    length: int
    sha256: str


def locate(path: Path, numbers: Iterable[int]) -> Iterator[Line | None]:
    """The physical lines (from 1) of these ascending numbers in a text file that `inspect` accepted; None beyond its end.

    The numbers are asked for one by one, so that there may be any number of them.
    """
    asked = iter(numbers)
    wanted = next(asked, None)
    number, offset = 1, 0  # of the first line of `text`
    pieces: list[bytes] = []  # of the line that is not whole yet
    with open_content(path) as handle:
        while wanted is not None:
            chunk = handle.read(LOOK)
            ends = chunk.count(b"\n") if chunk else 1
            pieces.append(chunk)
            if not ends:
                continue
            text = b"".join(pieces)
            cut = text.rfind(b"\n") + 1 if chunk else len(text)
            start = offset
            for n, line in enumerate(text[:cut].split(b"\n")[:ends], number) if wanted < number + ends else ():
                if n == wanted:
                    bare = line.rstrip(b"\r")
                    found = Line(n, start, len(bare), hashlib.sha256(bare).hexdigest())
                    while wanted == n:
                        yield found
                        wanted = next(asked, None)
                    if wanted is None:
                        return
                start += len(line) + 1
            if not chunk:
                break
            number, offset, pieces = number + ends, offset + cut, [text[cut:]]
    while wanted is not None:
        yield None
        wanted = next(asked, None)


def blank_runs(path: Path) -> Iterator[tuple[int, int]]:
    """Of each run of lines that hold nothing but white space: which of the written lines follows it, and how many blank ones stand before that."""
    blank = 0
    in_run = False
    with open_content(path) as lines:
        for number, line in enumerate(lines, 1):
            if line.isspace():
                blank += 1
                in_run = True
            elif in_run:
                yield number - blank, blank
                in_run = False


def without_bom(path: Path, folder: Path) -> Path:
    """A copy of the content without its byte order mark, under the same name less `.gz`, for engines that stumble on it."""
    folder.mkdir(parents=True, exist_ok=True)
    copy = folder / path.name.removesuffix(".gz")
    with open_content(path) as source, open(copy, "wb") as target:
        source.read(len(BOM))
        for chunk in _chunks(source):
            target.write(chunk)
    return copy


def open_content(path: Path) -> IO[bytes]:
    return igzip.open(path, "rb") if path.name.endswith(".gz") else open(path, "rb")


def read_bytes(path: Path) -> bytes:
    with open_content(path) as handle:
        return handle.read()


def last_byte(path: Path) -> bytes:
    """Of the decompressed content."""
    last = b""
    with open_content(path) as handle:
        for chunk in _chunks(handle):
            last = chunk[-1:]
    return last


def _chunks(handle: Any) -> Iterator[bytes]:
    return iter(lambda: handle.read(CHUNK), b"")


def _digest(path: Path) -> str:
    with open(path, "rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


class _Hashing(RawIOBase):
    """A file that hashes and counts what is read from it."""

    def __init__(self, raw: IO[bytes]) -> None:
        self.raw, self.digest, self.size = raw, hashlib.sha256(), 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        count: int = self.raw.readinto(buffer)  # type: ignore[attr-defined]
        self.digest.update(memoryview(buffer)[:count])
        self.size += count
        return count


class _Copy:
    """A file of what is written to it, over what it held; none where that needs more than its room, or than the disk has."""

    def __init__(self, path: Path, room: int) -> None:
        self.path, self.room, self.whole = path, room, True
        self.file = open(path, "r+b" if path.exists() else "wb")  # noqa: SIM115

    def write(self, chunk: bytes) -> None:
        self.room -= len(chunk)
        if self.room < 0:
            self.give_up()
        elif self.whole:
            try:
                self.file.write(chunk)
            except OSError:
                self.give_up()

    def close(self) -> None:
        try:
            if self.whole:
                self.file.truncate()
            self.file.close()
        except OSError:
            self.give_up()

    def give_up(self) -> None:
        if self.whole:
            self.whole = False
            with suppress(OSError):
                self.file.close()
            self.path.unlink()

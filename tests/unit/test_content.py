"""The byte pass: what it keeps of an inflated file, and where it finds lines again."""

import gzip
import hashlib
import random
from pathlib import Path

import pytest

from pipelines import content
from pipelines.content import Line, inspect, locate

TEXT = b'{"a": 1}\n\n{"b": 2}\r\n{"c"'


def packed(tmp_path: Path, text: bytes = TEXT) -> Path:
    path = tmp_path / "a.jsonl.gz"
    path.write_bytes(gzip.compress(text))
    return path


def test_the_byte_pass_keeps_what_it_inflates(tmp_path):
    plain = tmp_path / "a.jsonl"
    found = inspect(packed(tmp_path), "a", plain=plain, room=1000)
    assert (found.plain, plain.read_bytes()) == (plain, TEXT)
    assert (found.sha256, found.lines, found.blank) == (hashlib.sha256(TEXT).hexdigest(), 4, 1)


def test_a_shorter_file_over_a_longer_one_leaves_nothing_of_it(tmp_path):
    plain = tmp_path / "a.jsonl"
    inspect(packed(tmp_path, TEXT * 3), "a", plain=plain, room=1000)
    inspect(packed(tmp_path, b"{}\n"), "a", plain=plain, room=1000)
    assert plain.read_bytes() == b"{}\n"


def test_a_file_that_needs_more_room_than_there_is_is_not_kept(tmp_path):
    plain = tmp_path / "a.jsonl"
    found = inspect(packed(tmp_path), "a", plain=plain, room=len(TEXT) - 1)
    assert found.plain is None
    assert not plain.exists()
    assert found.sha256 == hashlib.sha256(TEXT).hexdigest()


@pytest.mark.parametrize("look", [1, 3, 7, 1 << 16])
def test_lines_are_found_wherever_the_looks_begin(tmp_path, monkeypatch, look):
    monkeypatch.setattr(content, "LOOK", look)
    chosen = random.Random(look)
    path = tmp_path / "a.jsonl"
    for _ in range(50):
        lines = [b"x" * chosen.randrange(9) + chosen.choice([b"", b"\r"]) for _ in range(chosen.randrange(1, 12))]
        path.write_bytes(b"\n".join(lines) + chosen.choice([b"", b"\n"]))
        wanted = [n for n in range(1, len(lines) + 1) for _ in range(chosen.choice([0, 0, 1, 2]))]  # a line may be asked for again
        bare = {n: lines[n - 1].rstrip(b"\r") for n in wanted}
        offsets = {n: sum(len(line) + 1 for line in lines[: n - 1]) for n in wanted}
        there = [Line(n, offsets[n], len(bare[n]), hashlib.sha256(bare[n]).hexdigest()) for n in wanted]
        assert list(locate(path, [*wanted, 99])) == [*there, None]


@pytest.mark.parametrize("chunk", [7, 64, 4096])
@pytest.mark.parametrize("short", [1, 128])  # lines are held from a byte on, or searched
def test_lines_and_blank_lines_are_counted_whatever_their_length(tmp_path, monkeypatch, chunk, short):
    monkeypatch.setattr(content, "CHUNK", chunk)
    monkeypatch.setattr(content, "SHORT", short)
    dice = random.Random(5)
    pieces = [b"", b" ", b"\t\r", b"\v \f", b"{}", b"x" * 30, b" {} ", b"\x1c", "\u2028\x85".encode()]
    for _ in range(150):
        rows = [dice.choice(pieces) for _ in range(dice.randrange(1, 40))]
        text = b"x\n" + b"\n".join(rows)
        path = tmp_path / "a.jsonl"
        path.write_bytes(text)
        lines = text.split(b"\n")[: None if rows[-1] else -1]
        found = inspect(path, "a")
        assert (found.lines, found.blank) == (len(lines), sum(not line.strip(b" \t\r\f\v") for line in lines))

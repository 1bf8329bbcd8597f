"""Whatever the bytes of a file are, landing refuses it in one line or accounts for every line of it, and never more."""

from __future__ import annotations

import gzip
import os
import random
import resource
import subprocess
import sys
from datetime import date
from pathlib import Path

import pytest

from pipelines import landing
from pipelines.home import Home
from pipelines.sources import registry
from pipelines.warehouse import memory
from tests.conftest import quiet
from tests.formats import Sample, samples
from tests.unit.test_landing_gateways import Seen

NIGHT = date(2026, 10, 4)
ROUNDS = 5  # damaged files of a format and kind of damage
NASTY = ["\u202e", "\ufeff", "🧾", "\ud7ff", "é", '"', "'", ",", "\r\n", "\r", "\x0b", "\x85", "\u2028", "\\", "{", "]", "}", "NULL", "%s",
         "'; drop table parsed; --", "\\ud800", "\\u0000", "[" * 3000, '{"a":' * 600, "x" * 70_000]  # fmt: skip
NUMBERS = ["-1", "1e400", "NaN", "-Infinity", "9223372036854775808", "1e-400", "0x10", "１２", "1_000", "9" * 60, "-0", "1.5", "true", "null", ""]


def damaged(good: bytes, how: str, dice: random.Random) -> bytes:
    at = dice.randrange(len(good))
    match how:
        case "random":
            return dice.randbytes(dice.randrange(1, 2000))
        case "text":
            return bytes(dice.choice(b'{}[]",:\\ \n\r\t019aeE+-.|\xc3\xa9\xff') for _ in range(dice.randrange(1, 2000)))
        case "cut":
            return good[: max(at, 1)]
        case "bit":
            return good[:at] + bytes([good[at] ^ 1 << dice.randrange(8)]) + good[at + 1 :]
        case "nasty":
            return good[:at] + dice.choice(NASTY).encode() + good[at + dice.randrange(3) :]
        case "number":
            digits = [n for n, byte in enumerate(good) if chr(byte).isdigit()] or [at]
            start = end = dice.choice(digits)
            while end < len(good) and chr(good[end]).isdigit():
                end += 1
            return good[:start] + dice.choice(NUMBERS).encode() + good[end:]
    raise AssertionError(how)


DAMAGE = ("random", "text", "cut", "bit", "nasty", "number")


@pytest.mark.parametrize("name", registry.READERS)
def test_damage_is_refused_or_accounted_for(tmp_path: Path, name: str) -> None:
    """Every file has one fate, the counts of a landed one add up, and of a file of lines those before the damage are there."""
    valid = samples()[name]
    dice = random.Random(name)
    home = Home(tmp_path)
    folder = home.landing / valid.kind / "s"
    files: dict[str, bytes] = {f"good/{valid.name}": valid.data}
    for how in DAMAGE:
        for n in range(ROUNDS):
            data = damaged(valid.data, how, dice)
            packed = n % 4 == 3 and not valid.listed and valid.name.endswith((".csv", ".jsonl"))
            files[f"{how}-{n}/{valid.name}{'.gz' if packed else ''}"] = gzip.compress(data) if packed else data
    if not valid.listed and valid.name.endswith((".csv", ".jsonl")):
        packed_whole = gzip.compress(valid.data)
        for n in range(ROUNDS):
            files[f"packed-{n}/{valid.name}.gz"] = damaged(packed_whole, "cut" if n % 2 else "bit", dice)
    for path, data in files.items():
        (folder / path).parent.mkdir(parents=True)
        (folder / path).write_bytes(data)
        if valid.listed:
            (folder / path).with_name("x-Manifest.json").write_bytes(valid.manifest(path))
    with memory() as con:
        report = landing.land(con, home, valid.sources(), NIGHT, Seen(), quiet)  # type: ignore[arg-type]
        rows = con.execute(
            "select path, state, lines, blank, good, rejected from source_files where path not like '%-Manifest.json'"
        ).fetchall()
        assert all("\n" not in str(refused) and len(str(refused)) < 600 for refused in report.refused)
        assert {path.split("/", 2)[2] for path, *_ in rows} == set(files) and len(rows) == len(files)
        counts = {path.split("/", 2)[2]: row for path, *row in rows}
        whole = counts[f"good/{valid.name}"]
        assert whole[0] == "landed" and whole[3] > 0 and whole[4] <= len(valid.data)
        for path, (state, lines, blank, good, rejected) in counts.items():
            assert state in ("landed", "same_content", "refused", "waiting", "held"), path
            if state == "landed":
                assert lines == blank + good + rejected, path
                if valid.lines and path.startswith("cut"):
                    first = files[path] if not path.endswith(".gz") else gzip.decompress(files[path])
                    assert good >= _before(valid, first.count(b"\n"), whole[3]), path
        assert con.execute("select count(*) from quarantine").fetchall()[0][0] == sum(row[4] for row in counts.values() if row[0] == "landed")


GATEWAYS_OF_LINES = [name for name, module in registry.READERS.items() if ".gateway." in module and name not in ("mapped",)]


@pytest.mark.parametrize("name", GATEWAYS_OF_LINES)
def test_a_line_cut_at_any_offset_is_rejected_alone(tmp_path: Path, name: str) -> None:
    """All of them in one file, in front of the whole line."""
    valid = samples()[name]
    line = valid.data.split(b"\n")[0].rstrip(b"\r")
    folder = Home(tmp_path).landing / valid.kind / "s"
    folder.mkdir(parents=True)
    (folder / "whole.jsonl").write_bytes(line)
    (folder / "cut.jsonl").write_bytes(b"".join(line[:at] + b"\n" for at in range(1, len(line))) + line + b"\n")
    with memory() as con:
        report = landing.land(con, Home(tmp_path), valid.sources(), NIGHT, Seen(), quiet)  # type: ignore[arg-type]
        found = con.execute("select path, good, rejected from source_files order by path").fetchall()
        ((lines, reasons),) = con.execute("select count(distinct source_row), list(distinct reason) from quarantine").fetchall()
    assert report.refused == []
    (_, good, rejected), (_, whole, none) = found
    assert (good, rejected, none) == (whole, len(line) - 1, 0) and whole > 0
    assert (lines, reasons) == (len(line) - 1, ["bad_json"])


def _before(valid: Sample, lines: int, all_good: int) -> int:
    """At least so many rows stand on the first lines of the valid file, whose lines are all good and alike."""
    total = valid.data.count(b"\n")
    return lines if all_good == total else 0


BOMB = """
import resource, sys
from datetime import date
from pathlib import Path
from pipelines import landing
from pipelines.home import Home
from pipelines.warehouse import memory
from tests.formats import samples
from tests.unit.test_landing_gateways import Seen
with memory() as con:
    sources = samples()["litellm"].sources()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    report = landing.land(con, Home(Path(sys.argv[1])), sources, date(2026, 10, 4), Seen(), lambda text: None)
    assert report.rejected >= 50_000 and report.good > 0
    print(*report.refused, sep="\\n")
    print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""


def test_bombs_are_refused_in_bounded_memory(tmp_path: Path) -> None:
    """Half a gigabyte of one line, and of many, in half a megabyte of gzip each; and a file of bad and blank lines, which is no bomb."""
    folder = Home(tmp_path).landing / "gateway" / "s"
    folder.mkdir(parents=True)
    for name, chunk in (("line", b" " * (1 << 20)), ("lines", b"{}\n" * (1 << 18))):
        with gzip.open(folder / f"{name}.jsonl.gz", "wb", compresslevel=1) as bomb:
            for _ in range(512):
                bomb.write(chunk)
    (folder / "ok.jsonl").write_bytes(b"\n" * 4_000_000 + b"{}\n" * 50_000 + samples()["litellm"].data)
    limit = 4 << 30
    ended = subprocess.run(
        [sys.executable, "-c", BOMB, str(tmp_path)], capture_output=True, text=True, timeout=50, env={**os.environ, "PYTHONPATH": os.getcwd()},
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_DATA, (limit, limit)),
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    *refused, grown = ended.stdout.splitlines()
    assert [line.split(":")[0] for line in refused] == ["gateway/s/line.jsonl.gz", "gateway/s/lines.jsonl.gz"]
    assert "longer than 16 MB" in refused[0] and "expands more than 200 times" in refused[1]
    assert int(grown) < 300

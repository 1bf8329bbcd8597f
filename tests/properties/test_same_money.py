"""However the same facts arrive - in another order, in many files, twice, under other names - the money is the same."""

from __future__ import annotations

import gzip
import random
import shutil
from datetime import date
from pathlib import Path

import duckdb
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from pipelines import jobs, sample
from pipelines.home import Home
from tests.conftest import quiet

THROUGH = date(2026, 10, 5)
TRUTH = sample.Truth.make(scale=0.01)

Money = list[tuple]


def nightly(root: Path) -> Money:
    """Run the night and return every figure of the ledger and of the statements, in a fixed order, without ids of files."""
    home = Home(root)
    jobs.nightly(home, THROUGH, quiet)
    with duckdb.connect(str(home.current), read_only=True) as con:
        ledger = con.execute("select * from ledger order by all").fetchall()
        statements = con.execute("select * from statement_lines order by all").fetchall()
        meters = con.execute("select * from usage_daily order by all").fetchall()
    return [*ledger, *statements, *meters]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Money]:
    root = tmp_path_factory.mktemp("undisturbed")
    sample.install(root)
    sample.write(root, THROUGH, TRUTH)
    landing = root / "landing-kept"
    shutil.copytree(Home(root).landing, landing)
    return landing, nightly(root)


def home_with(landing: Path, root: Path) -> Path:
    sample.install(root)
    shutil.copytree(landing, Home(root).landing, dirs_exist_ok=True)
    return Home(root).landing


def gateway_files(landing: Path) -> list[Path]:
    return sorted(path for path in (landing / "gateway" / "litellm-prod").rglob("*.gz"))


@settings(max_examples=4, deadline=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck), derandomize=True)
@given(seed=st.integers(0, 2**32))
def test_any_rearrangement_gives_the_same_money(
    undisturbed: tuple[Path, Money], tmp_path_factory: pytest.TempPathFactory, seed: int
) -> None:
    """Lines shuffled within and across files of a gateway, files renamed, split, merged and copied at random."""
    kept, wanted = undisturbed
    root = tmp_path_factory.mktemp("rearranged")
    landing = home_with(kept, root)
    chance = random.Random(seed)
    lines: list[bytes] = []
    copies: list[bytes] = []
    for path in gateway_files(landing):
        text = gzip.decompress(path.read_bytes())
        if chance.random() < 0.2:
            copies.append(text)
        lines += [line for line in text.splitlines() if line.strip()]
        path.unlink()
    chance.shuffle(lines)
    folder = landing / "gateway" / "litellm-prod"
    while lines:
        count = chance.randint(1, 400)
        part, lines = lines[:count], lines[count:]
        data = b"\n".join(part) + (b"\n" if chance.random() < 0.5 else b"")
        path = folder / f"{chance.randrange(10**12)}.jsonl"
        if chance.random() < 0.5:
            path.with_suffix(".jsonl.gz").write_bytes(gzip.compress(data))
        else:
            path.write_bytes(data)
    for number, text in enumerate(copies):
        (folder / f"again-{number}.jsonl.gz").write_bytes(gzip.compress(text))
    assert nightly(root) == wanted
    shutil.rmtree(root)


def test_every_file_copied_under_another_name_changes_nothing(undisturbed: tuple[Path, Money], tmp_path: Path) -> None:
    """Bills, GPU usage and drivers too: a delivery is its content, not its name."""
    kept, wanted = undisturbed
    landing = home_with(kept, tmp_path)
    for path in sorted(p for p in landing.rglob("*") if p.is_file()):
        if path.parent.parent.name == "openai" or path.parent.name.startswith("page"):
            continue  # pages of one delivery belong to their folder
        suffixes = "".join(path.suffixes[-2:] if path.suffix == ".gz" else path.suffixes[-1:])
        shutil.copy(path, path.with_name(f"zz-copy-{path.name.removesuffix(suffixes)}{suffixes}"))
    assert nightly(tmp_path) == wanted


def test_night_after_night_gives_what_one_night_gives(undisturbed: tuple[Path, Money], tmp_path: Path) -> None:
    """Files that arrive over many nights, against all of them in one."""
    _, wanted = undisturbed
    sample.install(tmp_path)
    for through in (date(2026, 9, 10), date(2026, 9, 20), date(2026, 9, 30), date(2026, 10, 2)):
        sample.write(tmp_path, through, TRUTH)
        jobs.nightly(Home(tmp_path), through, quiet)
    sample.write(tmp_path, THROUGH, TRUTH)
    assert nightly(tmp_path) == wanted

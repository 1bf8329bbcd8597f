"""Bad input gets one clear line that says where, the night goes on with the rest, and nothing else is lost."""

from __future__ import annotations

import gzip
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from datetime import date
from pathlib import Path

import duckdb
import pytest

from pipelines import jobs, sample
from pipelines.home import Home
from tests.closing import without_reports
from tests.conftest import command, quiet

THROUGH = date(2026, 9, 18)  # bills of every vendor are there
TRUTH = sample.Truth.make(scale=0.03)


@pytest.fixture
def home(tmp_path: Path) -> Home:
    sample.install(tmp_path)
    sample.write(tmp_path, THROUGH, TRUTH)
    return Home(tmp_path)


@pytest.fixture
def installed(tmp_path: Path) -> Home:
    """The sample company before its first file."""
    sample.install(tmp_path)
    return Home(tmp_path)


def process(home: Home, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "pipelines", *words, "--home", str(home.root)], capture_output=True, text=True)


def apportion(home: Home, *words: str) -> subprocess.CompletedProcess[str]:
    return command(*words, "--home", str(home.root))


def litellm(home: Home, name: str = "litellm-2026-09-05.jsonl.gz") -> Path:
    return next(home.landing.rglob(name))


def edit_events(path: Path, changes: list[Callable[[dict], None]]) -> None:
    """Each change to another event of a gateway file, of those that used tokens."""
    lines, left = gzip.decompress(path.read_bytes()).splitlines(), list(changes)
    for number, line in enumerate(lines):
        event = json.loads(line)
        if left and event.get("status") == "success" and event.get("total_tokens"):
            left.pop(0)(event)
            lines[number] = json.dumps(event).encode()
    assert not left
    path.write_bytes(gzip.compress(b"\n".join(lines) + b"\n"))


def truncated(home: Home) -> None:
    path = litellm(home)
    path.write_bytes(path.read_bytes()[:-40])


def unknown_folder(home: Home) -> None:
    folder = home.landing / "gateway" / "mystery"
    folder.mkdir()
    (folder / "a.jsonl").write_text("{}\n")


def wrong_header(home: Home) -> None:
    path = sorted((home.landing / "gateway" / "bedrock-proxy").glob("*.csv"))[0]
    path.write_text(path.read_text().replace("tokens_in", "tokens_incoming", 1))


def wrong_bill_header(home: Home) -> None:
    (home.landing / "billing" / "google" / "new.csv").write_text("A,B\n1,2\n")


def unknown_currency(home: Home) -> None:
    path = sorted((home.landing / "billing" / "openai").rglob("page-1.json"))[0]
    path.write_text(path.read_text().replace('"usd"', '"zzz"', 1))


def half_json(home: Home) -> None:
    path = sorted((home.landing / "billing" / "anthropic").rglob("*.json"))[0]
    path.write_text(path.read_text()[:-200])


def odd_name(home: Home) -> None:
    os.close(os.open(os.fsencode(home.landing / "gateway" / "bedrock-proxy") + b"/bad\xffname.csv", os.O_CREAT | os.O_WRONLY))


def deep_json(home: Home) -> None:
    folder = home.landing / "billing" / "openai" / "deep"
    folder.mkdir()
    (folder / "page-1.json").write_text("[" * 200_000)


REFUSED = [
    (truncated, r"litellm-2026-09-05.*gzip"),
    (unknown_folder, r"mystery.*sources\.yaml"),
    (wrong_header, r"bedrock-proxy.*tokens_in"),
    (wrong_bill_header, r"billing/google/new\.csv.*"),
    (unknown_currency, r"openai.*zzz"),
    (half_json, r"cost_report\.json.*"),
    (deep_json, r"openai.*too deeply"),
    (odd_name, r"bad.*name\.csv.*rename"),
]


def test_bad_files_are_refused_whole_and_the_night_goes_on(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    without_reports(monkeypatch)
    for damage, _ in REFUSED:
        damage(home)
    for _ in range(2):  # the second night says it again
        lines = [str(refused) for refused in jobs.nightly(home, THROUGH, quiet).refused]
        assert len(lines) == len(REFUSED), lines
        for damage, said in REFUSED:
            assert any(re.search(said, line) for line in lines), (damage.__name__, lines)
        assert all("\n" not in line and ";" in line and sample.CANARY not in line for line in lines), lines
    with duckdb.connect(str(home.current), read_only=True) as con:
        assert con.execute("select count(*) > 0 from ledger").fetchall() == [(True,)]
        states = con.execute("select count(*) from source_files where state = 'refused' and reason <> ''").fetchall()
    assert states == [(len(REFUSED),)]


def test_the_command_ends_with_1_when_a_file_was_refused(home: Home) -> None:
    truncated(home)
    ended = process(home, "nightly", "--through", THROUGH.isoformat())
    assert ended.returncode == 1 and "gzip" in ended.stderr.splitlines()[-1], ended.stderr
    assert home.current.exists()


REJECTED = [
    (lambda event: event.update(completion_tokens=-5), "negative"),
    (lambda event: event.update(prompt_tokens=10**18), "absurd"),
    (lambda event: event.update(prompt_tokens="many"), "token|number|integer"),
    (lambda event: event.update(startTime="yesterday"), "time"),
]


def test_bad_lines_are_quarantined_and_the_others_count(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    without_reports(monkeypatch)
    edit_events(litellm(home), [change for change, _ in REJECTED])
    assert jobs.nightly(home, THROUGH, quiet).refused == []
    with duckdb.connect(str(home.current), read_only=True) as con:
        found = con.execute(
            "select source_row > 0, byte_length > 0, reason from quarantine where path like '%2026-09-05%' order by source_row"
        ).fetchall()
    assert len(found) == len(REJECTED), found
    for (has_row, has_length, reason), (_, said) in zip(found, REJECTED, strict=True):
        assert has_row and has_length and re.search(said, reason), found


POLICY = [
    ("teams.yaml", lambda text: text.replace("cost_center: CC-4200", "cost_centre: CC-4200", 1), r"teams\.yaml:\d+.*cost_centre"),
    ("teams.yaml", lambda text: text.replace("cost_center: CC-4200", "cost_center: CC-9999", 1), r"teams\.yaml:\d+.*CC-9999"),
    ("sources.yaml", lambda text: text.replace("format: litellm", "format: [", 1), r"sources\.yaml:\d+"),
    ("company.yaml", lambda text: text.replace("currency: USD", "currency: DOLLARS", 1), r"company\.yaml:\d+.*DOLLARS"),
    ("allocation.yaml", lambda text: text.replace("driver: index_queries", "driver: index_querys", 1), r"index_querys"),
    ("contracts.yaml", lambda text: text.replace('percent: "7.5"', 'percent: "seven"', 1), r"contracts\.yaml:\d+"),
]


@pytest.mark.parametrize("name, change, said", POLICY)
def test_a_broken_policy_is_refused_with_file_and_line(installed: Home, name: str, change: Callable[[str], str], said: str) -> None:
    path = installed.policy / name
    before = path.read_text()
    path.write_text(change(before))
    assert path.read_text() != before
    ended = apportion(installed, "nightly", "--through", THROUGH.isoformat())
    assert ended.returncode == 1 and re.search(said, ended.stderr), ended.stderr
    assert "Traceback" not in ended.stderr
    assert not installed.current.exists()


def test_a_bill_in_another_currency_waits_for_a_rate(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    without_reports(monkeypatch)
    for path in sorted((home.landing / "billing" / "google").rglob("*.csv")):
        path.write_text(path.read_text().replace(",USD,", ",EUR,"))
    ended = apportion(home, "nightly", "--through", THROUGH.isoformat())
    assert ended.returncode == 1 and "EUR" in ended.stderr and "2026-09" in ended.stderr, ended.stderr
    folder = home.landing / "fx" / "treasury"
    folder.mkdir(parents=True)
    (folder / "rates.csv").write_text("period,currency,rate,rate_source\n2026-09,EUR,1.1,treasury\n")
    sources = home.policy / "sources.yaml"
    sources.write_text(sources.read_text() + "\nfx:\n  - name: treasury\n    format: fx_csv\n")
    ended = apportion(home, "nightly", "--through", THROUGH.isoformat())
    assert ended.returncode == 0, ended.stderr
    with duckdb.connect(str(home.current), read_only=True) as con:
        assert con.execute("select distinct billing_currency from charges where provider = 'google' and origin = 'bill'").fetchall() == [("EUR",)]
        assert con.execute("select distinct currency from statement_lines").fetchall() == [("USD",)]


def test_a_slip_of_the_year_is_wrong_usage(installed: Home) -> None:
    ended = apportion(installed, "nightly", "--through", "2199-01-15")
    assert ended.returncode == 2 and "future" in ended.stderr and not installed.current.exists()


@pytest.mark.parametrize("words", [["close"], ["explain", "search"], ["whatif", "--policy", "."]])
@pytest.mark.parametrize("month", ["2026-13", "2026-1", "october"])
def test_a_month_that_is_none_is_wrong_usage(installed: Home, words: list[str], month: str) -> None:
    ended = apportion(installed, *words, month)
    assert ended.returncode == 2 and "is not a month" in ended.stderr


def test_a_folder_without_policy_says_how_to_make_one(tmp_path: Path) -> None:
    ended = apportion(Home(tmp_path), "nightly")
    assert ended.returncode == 1 and "apportion init" in ended.stderr


@pytest.mark.parametrize("words", [["init"], ["demo"], ["nightly"], ["status"]])
def test_a_home_that_is_a_file_is_refused(tmp_path: Path, words: list[str]) -> None:
    (tmp_path / "charges.csv").write_text("a\n")
    for path in (tmp_path / "charges.csv", tmp_path / "charges.csv" / "home"):
        ended = command(*words, "--home", str(path))
        assert ended.returncode == 1 and f"{tmp_path / 'charges.csv'}: is a file, and a home is a folder" in ended.stderr


def test_a_busy_home_ends_with_75(installed: Home) -> None:
    from pipelines.warehouse import only_run

    with only_run(installed):
        assert process(installed, "nightly", "--through", THROUGH.isoformat()).returncode == 75

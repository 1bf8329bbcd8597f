"""However the same facts arrive - in another order, in many files, twice, under other names - the money is the same."""

from __future__ import annotations

import gzip
import json
import random
import shutil
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import duckdb
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from pipelines import jobs, sample
from pipelines.home import Home
from tests.closing import few_rows, without_reports
from tests.conftest import empty_home, quiet

THROUGH = date(2026, 10, 5)
TRUTH = sample.Truth.make(scale=0.01)

Money = list[tuple]


def quick_night(home: Home, through: date) -> None:
    """A night over a few rows."""
    with pytest.MonkeyPatch.context() as patched:
        few_rows(patched)
        jobs.nightly(home, through, quiet)


def nightly(root: Path) -> Money:
    """Run the night and return every figure of the ledger and of the statements, in a fixed order, without ids of files."""
    home = Home(root)
    jobs.nightly(home, THROUGH, quiet)
    with duckdb.connect(str(home.current), read_only=True) as con:
        ledger = con.execute("select * from ledger order by all").fetchall()
        statements = con.execute("select * from statement_lines order by all").fetchall()
        meters = con.execute("select * from usage_daily order by all").fetchall()
    return [*ledger, *statements, *meters]


@pytest.fixture(scope="module", autouse=True)
def _quick() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patched:
        without_reports(patched)
        yield


@pytest.fixture(scope="module")
def undisturbed(_quick: None, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Money]:
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


@settings(max_examples=2, deadline=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck), derandomize=True)
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
    for through in (date(2026, 9, 20), date(2026, 10, 2)):
        sample.write(tmp_path, through, TRUTH)
        jobs.nightly(Home(tmp_path), through, quiet)
    sample.write(tmp_path, THROUGH, TRUTH)
    assert nightly(tmp_path) == wanted


# Bills of one account: whatever came before, the money is that of what came last.

SOURCES = """
version: 1
gateways:
  - {name: proxy, format: mapped, file: jsonl, accounts: {openai: org-1}, tokens: exclusive,
     fields: {event_id: id, occurred_at: at, provider: provider, model: model, output_tokens: out, gateway_team: team, operation: {value: chat}}}
billing:
  - {name: openai, format: openai_costs, provider: openai, billing_account_id: org-1, legal_entity: MAIN}
"""
DAYS = (1, 2, 3)


def put_calls(home: Home) -> None:
    path = home.landing / "gateway" / "proxy" / "calls.jsonl"
    path.parent.mkdir(parents=True)
    calls = [
        {"id": f"{day}-{team}", "at": f"2026-09-{day:02}T10:00:00Z", "provider": "openai", "model": "gpt-5", "out": 100_000 * day + 7 * n, "team": team}
        for day in DAYS
        for n, team in enumerate(("a", "b", "c"))
    ]
    path.write_text("".join(json.dumps(call) + "\n" for call in calls))


def put_bill(home: Home, name: str, costs: dict[int, str]) -> None:
    path = home.landing / "billing" / "openai" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    buckets = []
    for day, cost in costs.items():
        start = int(datetime(2026, 9, day, tzinfo=UTC).timestamp())
        line = {"amount": {"value": cost, "currency": "usd"}, "line_item": "gpt-5-2025-08-07, output_tokens", "project_id": "p"}
        buckets.append({"start_time": start, "end_time": start + 86_400, "results": [line] if cost else []})
    path.write_text(json.dumps({"object": "page", "data": buckets, "has_more": False}))


ONE = {1: "3.000000000001", 2: "6.51", 3: "9.7"}  # seven per cent below to twenty above what was metered
TWO = {1: "3.3", 2: "", 3: "12.777777777777"}


def booked(home: Home) -> tuple[Money, Money]:
    """Ledger and reconciliation, without the names of files; and billed cost must be carried exactly."""
    with duckdb.connect(str(home.current), read_only=True) as con:
        billed = con.execute("select coalesce(sum(billed_cost), 0) from bill_lines where in_scope").fetchall()
        assert con.execute("select sum(billed_cost) from ledger").fetchall() == billed
        return con.execute("from ledger order by all").fetchall(), con.execute("from reconciliation order by all").fetchall()


def nights(root: Path, *bills: tuple[str, dict[int, str]] | None, at_once: bool = False) -> tuple[Money, Money]:
    """A home with calls, and one night per bill (None: a night without one), all on one day."""
    home = empty_home(root, SOURCES)
    put_calls(home)
    for bill in bills:
        if bill:
            put_bill(home, *bill)
        if not at_once:
            quick_night(home, date(2026, 9, 10))
    if at_once:
        quick_night(home, date(2026, 9, 10))
    return booked(home)


@pytest.fixture(scope="module")
def only_the_second(_quick: None, tmp_path_factory: pytest.TempPathFactory) -> tuple[Money, Money]:
    return nights(tmp_path_factory.mktemp("second"), ("b.json", TWO))


def test_accrual_then_bill_is_the_bill(only_the_second: tuple[Money, Money], tmp_path: Path) -> None:
    accrued = nights(tmp_path / "accrued", None)
    assert accrued != only_the_second and {row[-2] for row in accrued[1]} == {"unbilled"}
    assert nights(tmp_path / "then", None, ("b.json", TWO)) == only_the_second


def test_a_second_version_of_the_bill_is_the_bill(only_the_second: tuple[Money, Money], tmp_path: Path) -> None:
    assert nights(tmp_path / "first", ("a.json", ONE)) != only_the_second
    assert nights(tmp_path / "both", ("a.json", ONE), ("b.json", TWO)) == only_the_second
    assert nights(tmp_path / "at-once", ("a.json", ONE), ("b.json", TWO), at_once=True) == only_the_second


def test_a_bill_that_is_taken_back_is_the_bill_again(only_the_second: tuple[Money, Money], tmp_path: Path) -> None:
    assert nights(tmp_path, ("a.json", TWO), ("a.json", ONE), ("a.json", TWO)) == only_the_second


def test_a_bill_of_some_days_leaves_the_others_accrued(tmp_path: Path) -> None:
    part = nights(tmp_path / "part", ("a.json", {1: ONE[1]}))
    assert sorted(row[-2] for row in part[1]) == ["matched", "unbilled", "unbilled"]
    whole = nights(tmp_path / "whole", ("a.json", {1: ONE[1]}), ("b.json", {2: ONE[2]}), ("c.json", {3: ONE[3]}))
    assert whole == nights(tmp_path / "one", ("z.json", ONE))


# Several accounts and months, at random: whatever arrives in whatever order, the ledger carries each bill and nothing else.

ACCOUNTS = SOURCES.replace("legal_entity: MAIN", 'legal_entity: MAIN, shrink_limit: "100"') + """  - {name: openai-eu, format: openai_costs, provider: openai, billing_account_id: org-2, legal_entity: MAIN, shrink_limit: "100", scope: {sub_account_id: ours-*}}
fx:
  - {name: treasury, format: fx_csv}
"""
LINES = ("gpt-5-2025-08-07, output_tokens", "gpt-5-2025-08-07, input_tokens", "gpt-nobody-knows, output_tokens", "web search tool calls", "ChatGPT seats")
BILLED_DAYS = [date(2026, 9, 29) + timedelta(days=n) for n in range(6)]


def drawn_bill(chance: random.Random, currency: str) -> str:
    """A page of days that follow each other; a line may be negative or nothing, and a day may be empty."""
    buckets = []
    first = chance.randrange(len(BILLED_DAYS))
    for day in BILLED_DAYS[first : chance.randint(first + 1, len(BILLED_DAYS))]:
        start = int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp())
        results = [
            {
                "amount": {"value": f"{chance.choice(('', '', '-'))}{chance.choice((0, chance.randrange(10**16)))}e-12", "currency": currency},
                "line_item": chance.choice(LINES), "project_id": chance.choice(("ours-1", "ours-2", "theirs")),
            }
            for _ in range(chance.randint(0, 4))
        ]  # fmt: skip
        buckets.append({"start_time": start, "end_time": start + 86_400, "results": results})
    return json.dumps({"object": "page", "data": buckets, "has_more": False})


def drawn_calls(chance: random.Random, name: str) -> str:
    calls = (
        {"id": f"{name}-{n}", "at": f"{chance.choice(BILLED_DAYS)}T10:00:00Z", "provider": "openai", "model": chance.choice(("gpt-5", "gpt-5", "gpt-nobody-knows")),
         "out": chance.randrange(1, 300_000), "team": chance.choice(("a", "b", "nobody"))}
        for n in range(chance.randint(1, 6))
    )  # fmt: skip
    return "".join(json.dumps(call) + "\n" for call in calls)


CARRIED = """
    with billed as (
        select strftime(usage_date, '%Y-%m') as period, provider, billing_account_id, sum(billed_cost) as cost
        from bill_lines where in_scope group by all
    ),
    carried as (
        select l.period, c.provider, c.billing_account_id, sum(l.billed_cost) as cost, sum(l.effective_cost) as effective,
            sum(l.chargeback_cost) as charged, sum(l.billed_cost) filter (l.team_id = 'unallocated') as unallocated,
            sum(l.billed_cost) filter (l.team_id <> 'unallocated') as teams
        from ledger l join charges c using (charge_id) group by all
    ),
    compared as (
        select period, provider, billing_account_id, sum(billed_cost) as cost
        from reconciliation where scope = 'in_scope' and billed_cost is not null group by all
    )
    select b.*, c.cost, c.teams, c.unallocated, r.cost
    from billed b
    full join carried c using (period, provider, billing_account_id)
    full join compared r using (period, provider, billing_account_id)
    where coalesce(b.cost, 0) <> coalesce(c.cost, 0) or coalesce(c.cost, 0) <> coalesce(c.teams, 0) + coalesce(c.unallocated, 0)
        or c.effective is distinct from c.charged or coalesce(r.cost, 0) <> coalesce(b.cost, 0)
"""


@settings(max_examples=2, deadline=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck), derandomize=True)
@given(seed=st.integers(0, 2**32))
def test_whatever_arrives_in_whatever_order_every_bill_is_carried(tmp_path_factory: pytest.TempPathFactory, seed: int) -> None:
    """Bills of an account are versions of each other, so that they keep their order; everything else is shuffled, over one or two nights."""
    chance = random.Random(seed)
    streams = [
        [(f"gateway/proxy/{name}.jsonl", drawn_calls(chance, name))] for name in ("one", "two")
    ] + [
        [(f"billing/{source}/{version}.json", drawn_bill(chance, currency)) for version in "abc"[: chance.randint(1, 3)]]
        for source, currency in (("openai", "usd"), ("openai-eu", "eur"))
    ]  # fmt: skip
    turns = [n for n, stream in enumerate(streams) for _ in stream]
    chance.shuffle(turns)
    arriving = [streams[n].pop(0) for n in turns]
    ends = sorted(chance.sample(range(1, len(arriving)), chance.randint(0, 1)))

    def booked_after(*nights: list[tuple[str, str]]) -> tuple[Money, Money]:
        home = empty_home(tmp_path_factory.mktemp("arrivals"), ACCOUNTS)
        for arrived in nights:
            for name, text in [("fx/treasury/rates.csv", "period,currency,rate,rate_source\n2026-09,EUR,1.1,ecb\n2026-10,EUR,1.2,ecb\n"), *arrived]:
                path = home.landing / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text)
            quick_night(home, THROUGH)
            with duckdb.connect(str(home.current), read_only=True) as con:
                assert con.execute(CARRIED).fetchall() == []
                assert con.execute("select path, reason from source_files where state <> 'landed'").fetchall() == []
        with duckdb.connect(str(home.current), read_only=True) as con:
            return con.execute("from ledger order by all").fetchall(), con.execute("from reconciliation order by all").fetchall()

    cuts = [0, *ends, len(arriving)]
    assert booked_after(*(arriving[low:high] for low, high in pairwise(cuts))) == booked_after(sorted(arriving))

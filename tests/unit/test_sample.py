"""The sample company: deterministic files, and bills, logs and jobs that add up to the truth they were written from."""

from __future__ import annotations

import csv
import gzip
import io
import json
from collections import Counter, defaultdict
from datetime import date, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import duckdb
import pytest
import yaml

from pipelines import prices, warehouse
from pipelines.errors import Refused
from pipelines.home import asset
from pipelines.sample import CANARY, Truth, company, expected, install, policy_files, write
from pipelines.sample.arrivals import arrivals, bill_deliveries, is_late
from pipelines.sample.truth import contracted_cost, list_cost
from pipelines.sample.writers import focus, litellm, mapped, sacct

SMALL = Truth.make(scale=0.05)
WAVE_1, WAVE_2 = date(2026, 10, 5), date(2026, 10, 31)


def policy(name: str) -> dict:
    return yaml.safe_load((policy_files() / name).read_text())


def tree(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def landing(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("home")
    write(home, WAVE_2, SMALL)
    return home / "data" / "landing"


def lines_of(path: Path) -> list[dict]:
    data = path.read_bytes()
    text = gzip.decompress(data) if path.suffix == ".gz" else data
    return [json.loads(line) for line in text.decode().splitlines()]


# --- files -------------------------------------------------------------------------------------------------------


def test_two_waves_give_the_same_bytes_as_one(landing: Path, tmp_path: Path) -> None:
    first = write(tmp_path, WAVE_1, SMALL)
    times = {path: path.stat().st_mtime_ns for path in first}
    second = write(tmp_path, WAVE_2, SMALL)
    assert set(first).isdisjoint(second) and len(first) + len(second) == len(arrivals(SMALL))
    assert {path: path.stat().st_mtime_ns for path in first} == times
    assert tree(tmp_path / "data" / "landing") == tree(landing)
    assert write(tmp_path, WAVE_2, SMALL) == []


def test_equal_seeds_give_equal_truths_and_other_seeds_do_not() -> None:
    from pipelines.sample.truth import _make

    again = _make.__wrapped__(SMALL.seed, SMALL.scale)
    assert again == SMALL
    assert Truth.make(seed=1, scale=0.05).events != SMALL.events


def test_a_file_with_other_content_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path, date(2026, 9, 1), SMALL)[0]
    path.write_text("mine")
    with pytest.raises(Refused, match="another file"):
        write(tmp_path, date(2026, 9, 1), SMALL)
    assert path.read_text() == "mine"


def test_install_copies_once_and_never_overwrites(tmp_path: Path) -> None:
    copied = install(tmp_path)
    assert {path.name for path in copied} >= {path.name for path in policy_files().glob("*.yaml")}
    assert install(tmp_path) == []
    changed = tmp_path / "data" / "policy" / "teams.yaml"
    changed.write_text("version: 1\n")
    with pytest.raises(Refused):
        install(tmp_path)
    assert changed.read_text() == "version: 1\n"


def test_file_facts_count_what_is_in_the_files(landing: Path) -> None:
    seen: dict[str, set[str]] = defaultdict(set)
    ordered = sorted(arrivals(SMALL), key=lambda arrival: arrival.arrives)
    for arrival in (arrival for arrival in ordered if arrival.path.match("litellm-prod/*/*")):
        records, facts = lines_of(landing / arrival.path), arrival.facts
        ids = {record["id"] for record in records}
        assert facts is not None and facts.lines == len(records)
        if not facts.redelivery:
            assert facts.duplicates == len(records) - len(ids - seen["litellm"])
        assert facts.failures == sum(record["status"] == "failure" for record in records)
        assert facts.cache_hits == sum(record["cache_hit"] for record in records)
        assert all(CANARY in record["messages"][0]["content"] for record in records)
        seen["litellm"] |= ids
    assert seen["litellm"] == {event.event_id for event in SMALL.of("litellm-prod")}
    totals = [facts for facts in expected.file_facts(Truth.make(scale=0.05)).values()]
    assert sum(facts.redelivery for facts in totals) == 1
    assert sum(facts.duplicates for facts in totals) > 20


# --- the company ---------------------------------------------------------------------------------------------------


def test_the_company_is_the_one_of_the_policy() -> None:
    teams = policy("teams.yaml")
    projects = {(project["id"], project["team"], project["application"]) for project in teams["projects"]}
    assert projects == {(p.project_id, p.team, p.application) for p in company.PROJECTS}
    assert {team["id"] for team in teams["teams"]} == set(company.TEAMS)
    belongs = {(team["id"], *next(iter(entry.items()))) for team in teams["teams"] for entry in team["belongs"]}
    assert {(t, "slurm_account", a) for t, a in company.SLURM_ACCOUNTS.items()} <= belongs
    assert {(t, "provider_project", p) for t, p in company.OPENAI_PROJECTS.items()} <= belongs
    assert {(t, "provider_project", w) for t, w in company.ANTHROPIC_WORKSPACES.items()} <= belongs
    assert {(t, "gateway_team", f"team-{t}") for t in company.TEAMS} <= belongs
    assert ("data-science", "api_key", company.NOTEBOOK_KEY) in belongs
    always = {index["id"]: index.get("team") for index in teams["vector_indexes"] if index["id"] != "handbook"}
    assert always == {**company.INDEX_KEEPERS, "reviews": None} == {index: company.index_keeper(index, WAVE_1) for index in always}
    until, since = next(index["team"] for index in teams["vector_indexes"] if index["id"] == "handbook")
    assert until["to"] == since["from"] == company.HANDBOOK_MOVED
    assert [until["id"], since["id"]] == [company.index_keeper("handbook", company.HANDBOOK_MOVED - timedelta(days=n)) for n in (1, 0)]
    assert company.cost_center("docs", date(2026, 10, 15)) != company.cost_center("docs", date(2026, 10, 16))


def test_sources_and_contracts_are_the_ones_of_the_policy() -> None:
    sources = policy("sources.yaml")
    accounts = {bill["provider"]: bill.get("billing_account_id") for bill in sources["billing"]}
    assert all(company.BILLING_ACCOUNTS[p] == account for p, account in accounts.items() if account)
    declared = {(kind, source["name"]) for kind in ("billing", "gpu", "drivers", "invoices", "outcomes") for source in sources[kind]}
    declared |= {("gateway", source["name"]) for source in sources["gateways"]}
    assert {arrival.path.parts[:2] for arrival in arrivals(SMALL)} == declared
    proxy = next(source for source in sources["gateways"] if source["name"] == "bedrock-proxy")["fields"]
    columns = {field if isinstance(field, str) else field.get("column") for field in proxy.values()} - {None}
    assert columns <= set(mapped.PROXY_COLUMNS)
    contracts = policy("contracts.yaml")
    off = {entry["provider"]: 1 - Decimal(entry["percent"]) / 100 for entry in contracts["discounts"]}
    assert off == company.DISCOUNTS
    for entry in contracts["private_prices"]:
        price = company.PRIVATE_PRICES[entry["provider"], entry["model"], entry["meter"]]
        assert price == (Decimal(entry["per_million"]), entry["from"])
    assert {entry["cluster"]: entry["gpus"] for entry in contracts["gpu_capacity"]} == {"serving": 8, "batch": 16, "notebooks": 4}
    (notebooks,) = [entry for entry in contracts["gpu_capacity"] if entry["cluster"] == "notebooks"]
    assert (Decimal(notebooks["rate"]), *map(Decimal, notebooks["rates_by_hour"].values())) == company.NOTEBOOK_RATES


def test_list_prices_are_those_of_the_snapshot() -> None:
    con = warehouse.memory()
    prices.register(con, asset("data", "list_prices"))
    con.execute("create table logged(provider varchar, model_as_logged varchar)")
    con.executemany("insert into logged values (?, ?)", [*company.LIST_PRICES, *company.LONG_PRICES])
    prices.resolve_models(con, "logged", asset("data", "list_prices"))
    for table, tokens in ((company.LIST_PRICES, 1), (company.LONG_PRICES, company.LONG_CONTEXT + 1)):
        for (provider, model), known in table.items():
            meters = list(known)
            found = con.execute(
                f"""
                select {", ".join(f"r.{meter} * 1000000" for meter in meters)}
                from model_resolution m join rate_table r on r.provider = m.price_provider and r.model = m.price_model
                where m.provider = $provider and m.model_as_logged = $model and r.service_tier = 'standard'
                    and date '2026-09-15' >= r.valid_from and date '2026-09-15' < r.valid_to
                    and $tokens > r.input_gt and $tokens <= r.input_le
                """,
                {"provider": provider, "model": model, "tokens": tokens},
            ).fetchall()
            assert found == [tuple(Decimal(known[meter]) for meter in meters)], (provider, model)


def test_the_full_company_is_believable() -> None:
    truth = Truth.make()
    assert 25_000 <= len(truth.of("litellm-prod")) <= 32_000
    for month in company.MONTHS:
        api = sum(expected.api_cost(truth, month).values())
        assert 30_000 < api < 60_000
    september, october = (sum(expected.api_cost(truth, month).values()) for month in company.MONTHS)
    assert Decimal("1.05") < october / september < Decimal("1.3")
    by_day = Counter(event.day for event in truth.events if event.caller == company.SPIKE[0])
    assert by_day.most_common(1)[0][0] == company.SPIKE[1]
    tokens = sum(count for (_, provider, _, _), count in expected.tokens(truth).items() if provider != "hosted_vllm")
    assert 0 < expected.unpriced_tokens(truth) < tokens / 100
    assert {event.provider for event in truth.events} == {*company.BILLING_ACCOUNTS, "hosted_vllm"}
    assert len({event.model for event in truth.events if event.model}) == len(company.SIZES)
    assert any(event.long for event in truth.events) and any(event.attempt == 2 for event in truth.events)
    assert any(event.status == "failure" and event.meters() for event in truth.events)
    assert 0 < sum(is_late(event) for event in truth.events) < 40


# --- gateways ----------------------------------------------------------------------------------------------------


def test_litellm_lines_give_the_disjoint_meters_back() -> None:
    events = SMALL.of("litellm-prod")
    for event, text in zip(events, litellm.write(events).decode().splitlines(), strict=True):
        record = json.loads(text)
        usage = record["metadata"]["usage_object"]
        details = usage["prompt_tokens_details"]
        read = details["cached_tokens"] or usage.get("cache_read_input_tokens", 0)
        written = usage.get("cache_creation_input_tokens", 0)
        reasoning = usage.get("completion_tokens_details", {}).get("reasoning_tokens", 0)
        if event.cached:
            assert (record["prompt_tokens"], record["completion_tokens"]) == (event.avoided_input, event.avoided_output)
            assert record["response_cost"] == 0.0 and not event.meters()
            continue
        assert (read, written) == (event.cache_read, event.cache_write_5m + event.cache_write_1h)
        assert record["prompt_tokens"] - read - written == event.input_uncached
        assert (record["completion_tokens"] - reasoning, reasoning) == (event.output, event.reasoning)
        cost = list_cost(event)
        if cost is not None and event.status == "success":
            assert abs(Decimal(record["response_cost"]) - cost) < Decimal("1e-9")
        start = datetime(1970, 1, 1) + timedelta(milliseconds=round(record["startTime"] * 1000))
        assert start == event.at


def test_mapped_logs_give_the_tokens_back() -> None:
    events = SMALL.of("bedrock-proxy")
    rows = list(csv.DictReader(io.StringIO(mapped.write_csv(events).decode())))
    assert [int(row["tokens_in"]) - int(row["cached_in"]) for row in rows] == [event.input_uncached for event in events]
    assert [int(row["tokens_out"]) for row in rows] == [event.output_total for event in events]
    everything = list(csv.DictReader(io.StringIO(mapped.write_csv(SMALL.events, mapped.ALL_COLUMNS).decode())))
    assert [int(row["reasoning_tokens"]) for row in everything] == [event.reasoning for event in SMALL.events]
    searches = [json.loads(line) for line in mapped.write_jsonl(SMALL.of("rag-service")).decode().splitlines()]
    assert sum(record["searches"] for record in searches) == sum(expected.index_queries(SMALL).values())


# --- bills -------------------------------------------------------------------------------------------------------


def openai_total(landing: Path, month: str) -> Decimal:
    total = Decimal(0)
    for path in landing.glob("billing/openai/*/page-*.json"):
        page = json.loads(path.read_text(), parse_float=Decimal)
        assert page["has_more"] == (path.name == "page-1.json")
        for bucket in page["data"]:
            if f"{datetime(1970, 1, 1) + timedelta(seconds=bucket['start_time']):%Y-%m}" == month:
                total += sum(Decimal(result["amount"]["value"]) for result in bucket["results"])
    return total


def anthropic_total(landing: Path, month: str) -> Decimal:
    cents = Decimal(0)
    for path in landing.glob("billing/anthropic/*/*.json"):
        for bucket in json.loads(path.read_text())["data"]:
            if bucket["starting_at"].startswith(month):
                cents += sum(Decimal(result["amount"]) for result in bucket["results"])
    return cents / 100


def focus_total(path: Path) -> tuple[Decimal, Decimal]:
    """(ours, not ours) of one file."""
    reader = "read_parquet($path)" if path.suffix == ".parquet" else "read_csv($path, all_varchar = true)"
    query = (
        f"select SubAccountId is not distinct from $foreign, sum(BilledCost::decimal(38,18)) from {reader} group by all"
    )
    with duckdb.connect() as con:
        sums = dict(con.execute(query, {"path": str(path), "foreign": company.FOREIGN_SUB_ACCOUNT}).fetchall())
    return sums.get(False, Decimal(0)), sums.get(True, Decimal(0))


@pytest.mark.parametrize("month", company.MONTHS)
def test_bills_add_up_to_the_truth(landing: Path, month: str) -> None:
    known = expected.as_of(SMALL, WAVE_2)
    billed, foreign = expected.billed(known), expected.out_of_scope(known)
    assert openai_total(landing, month) == billed["openai", month]
    assert anthropic_total(landing, month) == billed["anthropic", month]
    for provider in ("aws", "google", "pinecone"):
        newest = max(landing.glob(f"billing/{provider}/{month}/*"), key=lambda path: path.name)
        assert focus_total(newest) == (billed[provider, month], foreign.get((provider, month), Decimal(0)))


def test_bills_are_the_metered_cost_and_what_nobody_metered() -> None:
    billed, seen = defaultdict(Decimal), defaultdict(Decimal)
    for line in SMALL.bill_lines:
        if line.model and line.in_scope:
            billed[line.provider, line.month] += line.billed_cost - line.unmetered
    for event in SMALL.events:
        seen[event.provider, event.month] += contracted_cost(event) or 0
    unpriced = expected.billed_without_price(SMALL)
    raised = sum(expected.price_change(SMALL).values())
    assert raised > 0
    for key, amount in billed.items():
        assert amount == seen[key] + unpriced.get(key, 0) + (raised if key == ("openai", "2026-10") else 0), key


def test_the_restated_bill_differs_on_two_days_only() -> None:
    full = Truth.make()  # a small company has no line to lose on that day
    aws = [d for d in bill_deliveries(full) if d.provider == "aws" and f"{d.start:%Y-%m}" == "2026-09"]
    before, after = (
        {(li.day, li.sub_account_id, li.service, li.model, li.meter): li.billed_cost for li in d.lines}
        for d in aws[-2:]
    )
    changed = {key for key in before.keys() | after.keys() if before.get(key) != after.get(key)}
    assert len(changed) == 2 and {key[0] for key in changed} == {date(2026, 9, 12), date(2026, 9, 28)}
    assert sum(after.values()) > sum(before.values())
    first, last = expected.as_of(full, WAVE_1), expected.as_of(full, WAVE_2)
    assert expected.billed(first)["aws", "2026-09"] == sum(li.billed_cost for li in aws[-2].lines if li.in_scope)
    assert expected.billed(last)["aws", "2026-09"] == expected.billed(full)["aws", "2026-09"]
    assert {li.day for li in full.bill_lines if li.provider == "openai"} - {
        li.day for li in last.bill_lines if li.provider == "openai"
    } == {date(2026, 10, 30), date(2026, 10, 31)}


@pytest.mark.parametrize(("version", "columns"), [("1.0", 43), ("1.2", 57), ("1.4", 65)])
@pytest.mark.parametrize("encoding", ["csv", "parquet"])
def test_any_bill_can_be_written_in_any_focus_version(
    version: focus.Version, encoding: focus.Encoding, columns: int, tmp_path: Path
) -> None:
    lines = [line for line in SMALL.bill_lines if line.month == "2026-09"]
    data = focus.write(lines, version, encoding)
    assert data == focus.write(lines, version, encoding)
    path = tmp_path / f"bill.{encoding}"
    path.write_bytes(data)
    assert sum(focus_total(path)) == sum(line.billed_cost for line in lines)
    assert len([name for name in focus.COLUMNS[version] if not name.startswith("x_")]) == columns
    if encoding == "csv":
        rows = list(csv.DictReader(io.StringIO(data.decode())))
        assert all(Decimal(row["BilledCost"]) == line.billed_cost for row, line in zip(rows, lines, strict=True))
        for row in rows:
            if row["ListUnitPrice"] not in ("", "NULL"):
                assert Decimal(row["ListUnitPrice"]) * Decimal(row["PricingQuantity"]) == Decimal(row["ListCost"])


def test_the_bill_says_what_bypassed_the_gateways() -> None:
    truth = Truth.make()
    assert set(expected.unmetered(truth)) == {("anthropic", "2026-09"), ("anthropic", "2026-10"), ("openai", "2026-09")}
    for line in truth.bill_lines:
        if line.unmetered and line.provider == "openai":
            assert line.sub_account_id == "proj_assistant"
        if line.unmetered and line.provider == "anthropic":
            assert line.sub_account_id == "wrkspc_docs"


# --- GPUs --------------------------------------------------------------------------------------------------------


def test_jobs_never_hold_more_cards_than_there_are() -> None:
    moves = sorted(
        move
        for job in SMALL.jobs
        for node in job.nodes
        for move in ((job.start, 1, node, job.gpus // len(job.nodes)), (job.end, 0, node, -job.gpus // len(job.nodes)))
    )
    held: Counter[str] = Counter()
    for _, _, node, cards in moves:
        held[node] += cards
        assert 0 <= held[node] <= 4
    assert any(job.start.month == 9 and job.end.month == 10 for job in SMALL.jobs)
    assert {job.team for job in SMALL.jobs} == set(company.SLURM_ACCOUNTS)


def test_sacct_rows_give_the_gpu_seconds_back(landing: Path) -> None:
    seconds: dict[str, int] = {}
    for path in sorted(landing.glob("gpu/slurm/*.log"), key=lambda path: path.stat().st_mtime):
        for text in path.read_text().splitlines():
            fields = text.split("|", 25)
            assert len(fields) == 26
            if "." in fields[0] or fields[13] == "Unknown" or fields[12] == "Unknown":
                continue
            tres = dict(part.split("=") for part in fields[22].split(","))
            gpus = int(tres.get("gres/gpu") or tres["gres/gpu:a100"])
            start, end = (datetime.fromisoformat(fields[n]) for n in (12, 13))
            seconds[fields[0]] = gpus * int((end - start).total_seconds())
    assert sum(seconds.values()) == sum(expected.gpu_seconds(SMALL).values())
    assert any("|" in job.name for job in SMALL.jobs)
    early = expected.as_of(SMALL, WAVE_1)
    assert 0 < len(early.jobs) < len(SMALL.jobs)
    pulled = datetime(2026, 10, 6, 0, 30)
    running = sacct.write(SMALL.jobs, datetime(2026, 10, 1), datetime(2026, 10, 6), pulled).decode()
    assert ("|RUNNING|" in running) == any(j.start < datetime(2026, 10, 6) and j.end > pulled for j in SMALL.jobs)


def test_every_hour_of_the_model_server_is_there(landing: Path) -> None:
    rows = [row for path in landing.glob("gpu/serving-cluster/*.csv") for row in csv.DictReader(path.open())]
    assert len(rows) == (61 * 24 - 4) * 6 and {row["gpu_pod_uptime"] for row in rows} == {"3600"}
    held = sum(held for held, _ in expected.serving_seconds(SMALL).values())
    assert held == sum(int(row["gpu_pod_uptime"]) for row in rows)


def test_what_arrives_late_is_missing_in_the_first_wave_only() -> None:
    first = {event.event_id for event in expected.as_of(SMALL, WAVE_1).events}
    full = Truth.make()
    late = {event.event_id for event in full.events if is_late(event)}
    assert late and late.isdisjoint({event.event_id for event in expected.as_of(full, WAVE_1).events})
    assert expected.as_of(full, WAVE_2).events == full.events
    assert first < {event.event_id for event in SMALL.events}

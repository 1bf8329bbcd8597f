"""The rate card through whole nights: tokens, GPU-hours, searches and storage sold at published rates; what remains is recovery."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pytest

from pipelines import inspection, jobs, sample
from pipelines.estimate import estimate, project_of
from pipelines.home import Home
from tests.conftest import quiet

DAY = date(2026, 9, 1)
SOURCES = """
version: 1
drivers: [{name: finance, format: drivers_csv}]
gateways:
  - name: proxy
    format: mapped
    file: csv
    accounts: {openai: org-larkfield}
    fields: {event_id: id, occurred_at: at, gateway_team: team, provider: provider, model: model, operation: operation, vector_index_id: index,
             input_tokens: input, cache_read_tokens: cached, output_tokens: output, queries: queries}
billing:
  - name: openai
    format: mapped_bill
    provider: openai
    billing_account_id: org-larkfield
    legal_entity: LKF-US
    fields: {billing_account_id: {value: org-larkfield}, day: day, cost: cost, currency: {value: USD}, charge_category: {value: Usage},
             service: {value: OpenAI API}, model_as_logged: model, sku_meter: meter, quantity: quantity, unit: {value: Tokens}}
  - name: pinecone
    format: mapped_bill
    provider: pinecone
    billing_account_id: pc
    legal_entity: LKF-US
    vector_index_id: resource_id
    activities: [{sku_meter: "Read Units", activity: query}, {sku_meter: Storage, activity: storage}, {sku_meter: Backup, activity: index_maintenance}]
    fields: {billing_account_id: {value: pc}, day: day, cost: cost, currency: {value: USD}, charge_category: {value: Usage},
             service: {value: Pinecone}, sku_meter: meter, resource_id: index, quantity: quantity, unit: unit}
gpu:
  - name: cards
    format: mapped_gpu
    file: csv
    cluster: mixed
    fields: {event_id: id, interval_start: hour, seconds: seconds, holder: holder, namespace: namespace, node: node, gpu_uuid: card,
             gpu_model: model, gpus: {value: "1"}}
"""
FILES = {
    "drivers/finance/all.csv": "driver,target,weight\nseats,search,1\nindex_vectors,search,1\nindex_subscribers,search,1\n",
    "gateway/proxy/calls.csv": """\
id,at,team,provider,model,operation,index,input,cached,output,queries
a,2026-09-01T10:00:00Z,team-docs,openai,gpt-5,chat,,2000000,500000,300000,
b,2026-09-01T11:00:00Z,team-risk,openai,gpt-5,chat,,1000000,0,100000,
c,2026-09-01T11:00:00Z,team-risk,openai,gpt-5-mini,chat,,1000000,0,0,
f,2026-09-01T11:00:00Z,team-of-nobody,openai,gpt-5,chat,,0,0,10000,
d,2026-09-01T12:00:00Z,team-docs,pinecone,,vector_query,catalog,,,,1000
e,2026-09-01T12:00:00Z,team-risk,pinecone,,vector_query,catalog,,,,3000
""",
    "billing/openai/bill.csv": """\
day,model,meter,quantity,cost
2026-09-01,gpt-5,input_uncached,2500000,3.125
2026-09-01,gpt-5,cache_read,500000,0.0625
2026-09-01,gpt-5,output,410000,4.1
2026-09-01,gpt-5-mini,input_uncached,1000000,0.25
""",
    "billing/pinecone/bill.csv": """\
day,index,meter,quantity,unit,cost
2026-09-01,catalog,Read Units,5000,Read Units,0.08
2026-09-01,catalog,Storage,7300,GB-Hours,3.285
2026-09-01,catalog,Backup,7300,GB-Hours,0.5
""",
    "gpu/cards/list.csv": "id,hour,seconds,holder,namespace,node,card,model\n" + "".join(
        f"{n},2026-09-01T{hour:02d}:00:00Z,3600,job,{namespace},n1,{card},{model}\n"
        for n, (hour, namespace, card, model) in enumerate(
            [(8, "nb-search", "a30-1", "A30"), (9, "nb-search", "a30-1", "A30"), (9, "nb-risk", "h100-1", "H100"), (9, "nb-risk", "x-1", "V100")]
        )
    ),
}  # fmt: skip
CONTRACTS = """
version: 1
gpu_capacity:
  - {cluster: mixed, gpu_model: A30, gpus: 1, rate: "1", provider: dc, legal_entity: LKF-US}
  - {cluster: mixed, gpu_model: H100, gpus: 1, rate: "4", provider: dc, legal_entity: LKF-US}
"""
CARD = """
version: 1
id: card-1
gpu_equivalents: {A100: 1, A30: "0.5", H100: "2.5"}
lines:
  - {id: gpt-in, service: GPT-5, covers: {provider: openai, model: gpt-5}, meter: input, unit: 1M tokens, rate: "1.50"}
  - {id: gpt-cached, service: GPT-5, covers: {provider: openai, model: gpt-5}, meter: cache_read, unit: 1M tokens, rate: "0.10"}
  - id: gpt-out
    service: GPT-5
    covers: {provider: openai, model: gpt-5}
    meter: output
    unit: 1M tokens
    rate: "12"
    teams: [{team: docs, rate: "10"}, {team: risk, rate: "1", from: 2026-09-02}]
  - {id: hours, service: GPU time, covers: {cluster: mixed}, meter: gpu_hours, unit: equivalent GPU-hour, rate: "3", note: "Idle cards included"}
  - {id: searches, service: Vector search, covers: {vector_index: catalog}, meter: queries, unit: 1K queries, rate: "0.05"}
  - {id: storage, service: Vector storage, covers: {vector_indexes: all, provider: pinecone}, meter: gb_months, unit: GB-month, rate: "0.40"}
"""
GPT = {"docs": Decimal("2.25") + Decimal("0.05") + 3, "risk": Decimal("1.5") + Decimal("1.2"), "unallocated": Decimal("0.12")}
HOURS = {"search": Decimal("0.5") * 2 * 3, "risk": Decimal("2.5") * 3}
SEARCHES = {"docs": Decimal("0.05"), "risk": Decimal("0.15")}
STORAGE = {"search": 10 * Decimal("0.4")}  # 7,300 GB-hours are 10 GB-months; the search team keeps the catalog
COST = {"GPT-5": Decimal("7.2875"), "GPU time": Decimal(24 + 96), "Vector search": Decimal("0.08"), "Vector storage": Decimal("3.285")}
SOLD = {
    name: sum(sold.values())
    for name, sold in {"GPT-5": GPT, "GPU time": HOURS, "Vector search": SEARCHES, "Vector storage": STORAGE}.items()
}


def made(root: Path, card: str) -> Home:
    """One day of the sample company's teams, with one of everything that a rate card can sell."""
    sample.install(root)
    home = Home(root)
    for name, text in {"contracts": CONTRACTS, "rate_card": card, "sources": SOURCES}.items():
        (home.policy / f"{name}.yaml").write_text(text)
    for name, text in FILES.items():
        path = home.landing / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    assert jobs.nightly(home, DAY, quiet).refused == []
    return home


@pytest.fixture(scope="module")
def sold(tmp_path_factory: pytest.TempPathFactory) -> Home:
    return made(tmp_path_factory.mktemp("sold"), CARD)


def ask(home: Home, sql: str) -> list[tuple[Any, ...]]:
    with duckdb.connect(str(home.current), read_only=True) as con:
        return con.execute(sql).fetchall()


def test_teams_pay_quantity_times_rate(sold: Home) -> None:
    found = ask(
        sold,
        "select service, team_id, sum(chargeback_cost) from ledger where cost_pool = 'rate card' and activity <> 'recovery' group by all",
    )
    wanted = {("GPT-5", team): cost for team, cost in GPT.items()} | {("GPU time", team): cost for team, cost in HOURS.items()}
    wanted |= {("Vector search", team): cost for team, cost in SEARCHES.items()} | {
        ("Vector storage", team): cost for team, cost in STORAGE.items()
    }
    assert {(service, team): cost for service, team, cost in found} == wanted
    assert ask(sold, "select distinct category from ledger where method = 'rate' and activity <> 'recovery'") == [("direct",)]
    units = ask(
        sold,
        "select service, consumed_unit, sum(consumed_quantity) from ledger where method = 'rate' and activity <> 'recovery' group by all order by all",
    )
    assert units == [
        ("GPT-5", "Tokens", 3_410_000),
        ("GPU time", "Equivalent GPU-Hours", Decimal("3.5")),
        ("Vector search", "Queries", 4000),
        ("Vector storage", "GB-Months", 10),
    ]


def test_what_is_not_on_the_card_stays_at_cost(sold: Home) -> None:
    at_cost = ask(
        sold,
        "select team_id, sum(chargeback_cost) from ledger where cost_pool not in ('rate card', 'index_maintenance') group by all having sum(chargeback_cost) <> 0",
    )
    assert at_cost == [("risk", Decimal("0.25"))]  # gpt-5-mini
    upkeep = ask(sold, "select sum(chargeback_cost), sum(effective_cost) from ledger where cost_pool = 'index_maintenance'")
    assert upkeep == [(Decimal("0.5"), Decimal("0.5"))]


def test_the_platform_keeps_the_difference_and_every_charge_adds_up(sold: Home) -> None:
    recovery = ask(
        sold,
        "select part, sum(chargeback_cost) filter (method = 'to'), -sum(chargeback_cost) filter (method = 'rate') from ledger where activity = 'recovery' group by all",
    )
    assert {service: (cost, got) for service, cost, got in recovery} == {service: (COST[service], SOLD[service]) for service in COST}
    wrong = "select charge_id from ledger l join charges c using (charge_id) group by charge_id having sum(chargeback_cost) <> max(c.effective_cost) or sum(l.effective_cost) <> max(c.effective_cost)"
    assert ask(sold, wrong) == []
    assert ask(sold, "select sum(chargeback_cost) from ledger") == [(sum(COST.values()) + Decimal("0.25") + Decimal("0.5"),)]
    assert [r.name for r in inspection.check(sold) if r.bad_rows and r.severity == "fail"] == []


def test_hours_of_a_card_without_an_equivalent_are_named_and_not_sold(sold: Home) -> None:
    assert ask(sold, "select what, events from exceptions where kind = 'gpu_without_rate'") == [("mixed V100", 1)]


def test_the_card_and_its_recovery_are_published(sold: Home) -> None:
    assert {
        (service, cost, got, over) for service, cost, got, over in ask(sold, "select service, cost, sold, recovered from recovery")
    } == {(service, COST[service], SOLD[service], SOLD[service] - COST[service]) for service in COST}
    lines = ask(
        sold, "select line_id, covered, only_team, rate, valid_from from rate_card where line_id in ('gpt-out', 'storage') order by all"
    )
    assert lines == [
        ("gpt-out", "openai gpt-5", "docs", 10, None), ("gpt-out", "openai gpt-5", "risk", 1, date(2026, 9, 2)), ("gpt-out", "openai gpt-5", None, 12, None),
        ("storage", "all vector indexes on pinecone", None, Decimal("0.4"), None),
    ]  # fmt: skip
    assert ask(sold, "select gpu_model, equivalent from gpu_equivalents order by all") == [
        ("A100", 1),
        ("A30", Decimal("0.5")),
        ("H100", Decimal("2.5")),
    ]
    page = (sold.reports / "rate-card.html").read_text()
    assert (
        "Idle cards included" in page and "docs team only" in page and 'href="rate-card.html"' in (sold.reports / "index.html").read_text()
    )


def test_an_estimate_and_the_statement_agree(sold: Home) -> None:
    """The day of the docs team as a plan: what was estimated is what was charged."""
    use = {"model": "gpt-5", "interactions": 1, "days": 1, "input_tokens": 2_000_000, "cached_percent": 25, "output_tokens": 300_000}
    found = estimate(sold, project_of({"team": "docs", "models": [use], "indexes": [{"vector_index": "catalog", "queries": 1000}]}), DAY)
    assert found["total"][0]["base"] == GPT["docs"] + SEARCHES["docs"]
    assert {line["price"].split(",")[0] for line in found["lines"]} == {"rate card card-1"}


def test_a_change_of_the_card_moves_money_and_no_cost(sold: Home, tmp_path: Path) -> None:
    """Without a card every charge is at cost; the sum over all teams is the same."""
    at_cost = made(tmp_path, "version: 1\n")
    everything = "select sum(effective_cost), sum(chargeback_cost) from ledger"
    assert ask(at_cost, everything) == ask(sold, everything)
    assert (
        ask(at_cost, "select count(*) from ledger where chargeback_cost <> effective_cost") == [(0,)]
        and ask(at_cost, "from recovery") == []
    )
    per_team = "select team_id, sum(effective_cost) from ledger group by all having sum(effective_cost) <> 0 order by all"
    assert ask(at_cost, per_team) == ask(sold, per_team)
    assert "There is no rate card" in (at_cost.reports / "rate-card.html").read_text()

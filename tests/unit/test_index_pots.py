"""Retrieval, piece by piece: who pays an embedding, whom an index's storage and upkeep reach, which bill lines join its pot."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from dataclasses import replace
from datetime import date
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace

import duckdb
import pytest

from pipelines import allocate, models, policy, warehouse
from pipelines.allocation import engine
from pipelines.errors import Refused
from pipelines.home import asset
from pipelines.policy import Policy
from pipelines.sample import policy_files
from pipelines.sources import BILL_LINE, EVENT, SHAPES

OCTOBER = (date(2026, 10, 1), date(2026, 11, 1))
PARAMS = {"period": "2026-10", "period_start": OCTOBER[0], "period_end": OCTOBER[1], "as_of": date(2026, 10, 31)}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return Path(shutil.copytree(policy_files(), tmp_path / "policy"))


@pytest.fixture
def loaded(folder: Path) -> Policy:
    return policy.load(folder)


@pytest.fixture
def con(loaded: Policy) -> duckdb.DuckDBPyConnection:
    con = warehouse.memory()
    con.execute(asset("sql", "macros.sql").read_text())
    policy.register(con, loaded)
    return con


def model(stage: str, name: str) -> models.Model:
    return next(one for one in models.stage(stage) if one.name == name)


def shaped(con: duckdb.DuckDBPyConnection, table: str, columns: dict[str, str], rows: list[dict[str, object]]) -> None:
    """A table of this shape; what a row does not say is NULL."""
    con.execute(f"create or replace table {table}({', '.join(f'{name} {kind}' for name, kind in columns.items())})")
    for row in rows:
        con.execute(f"insert into {table}({', '.join(row)}) values ({', '.join('?' * len(row))})", list(row.values()))


# --- embeddings ----------------------------------------------------------------------------------------------------


def payer(con: duckdb.DuckDBPyConnection, day: date, **said: object) -> tuple[str, str]:
    """(team that called, team that pays) of one event on that day."""
    event = {
        "event_id": "e1", "provider": "openai", "model_as_logged": "text-embedding-3-large", "operation": "embedding",
        "gateway_team": "team-platform", **said, "source": "litellm-prod", "usage_date": day, "delivery_id": "d1", "source_file": "f", "source_row": 1,
    }  # fmt: skip
    more = {"source": "varchar", "usage_date": "date", "delivery_id": "varchar", "source_file": "varchar", "source_row": "bigint"}
    shaped(con, "landed_events", EVENT | more, [event])
    con.execute("create or replace table event_losers(delivery_id varchar, source_file varchar, source_row bigint, event_id varchar)")
    names = ("usage_period", "provider", "model_as_logged", "model", "price_provider", "price_model")
    shaped(con, "model_names", dict.fromkeys(names, "varchar"), [])
    models.make(con, model("rate", "events"), PARAMS)
    return con.execute("select caller_team_id, team_id from events").fetchall()[0]


BEFORE, AFTER = date(2026, 10, 11), date(2026, 10, 12)  # the handbook moves from support to risk


@pytest.mark.parametrize(
    "day, said, pays",
    [
        (AFTER, {"triggered_by": "team-docs", "vector_index_id": "handbook"}, "docs"),  # by the gateway's name
        (AFTER, {"triggered_by": "docs", "vector_index_id": "handbook"}, "docs"),  # by ours
        (BEFORE, {"vector_index_id": "handbook"}, "support"),
        (AFTER, {"vector_index_id": "handbook"}, "risk"),
        (AFTER, {"vector_index_id": "reviews"}, "platform"),  # nobody keeps it: the caller
        (AFTER, {"vector_index_id": "never-declared"}, "platform"),
        (AFTER, {}, "platform"),
        (AFTER, {"triggered_by": "team-ghost", "vector_index_id": "handbook"}, "risk"),  # a team that nobody knows triggers nothing
        (AFTER, {"triggered_by": "team-ghost", "gateway_team": "team-ghost"}, "unallocated"),
        (AFTER, {"triggered_by": "docs", "vector_index_id": "handbook", "operation": "index_write"}, "docs"),
        (AFTER, {"triggered_by": "docs", "vector_index_id": "handbook", "operation": "vector_query"}, "platform"),
        (AFTER, {"triggered_by": "docs", "vector_index_id": "handbook", "operation": "chat"}, "platform"),
    ],
)
def test_an_embedding_is_paid_by_its_trigger_then_the_keeper_of_the_day_then_the_caller(con, day: date, said: dict, pays: str) -> None:
    caller = "unallocated" if said.get("gateway_team") == "team-ghost" else "platform"
    assert payer(con, day, **said) == (caller, pays)


# --- writes --------------------------------------------------------------------------------------------------------


def test_writes_weigh_their_units_and_requests_only_where_an_index_counts_no_units(con) -> None:
    con.execute(
        """
        create table usage_daily as
        select date '2026-10-05' as usage_date, *, 'p' as project_id, null as application, null as environment
        from (values ('catalog', 'marketing', 'index_write', 900, 1), ('catalog', 'search', 'index_write', 100, 9), ('catalog', 'docs', 'vector_query', 7, 7),
                     ('catalog', 'risk', 'index_write', null, 4), ('notes', 'docs', 'index_write', null, 3), ('notes', 'risk', 'index_write', 0, 1))
            t(vector_index_id, team_id, operation, search_units, requests)
        """
    )
    models.make(con, models.Model("allocate", "written", asset("sql", "allocate", "drivers", "index_writes.sql").read_text(), "", ""), PARAMS)
    found = con.execute("select vector_index_id, target, weight::int from written where weight > 0 order by all").fetchall()
    assert found == [("catalog", "marketing", 900), ("catalog", "search", 100), ("notes", "docs", 3), ("notes", "risk", 1)]


# --- storage and upkeep --------------------------------------------------------------------------------------------

COLUMNS = {
    "charge_id": "varchar", "portion": "varchar", "usage_date": "date", "charge_category": "varchar", "activity": "varchar",
    "vector_index_id": "varchar", "serving_pool": "varchar", "gpu_use": "varchar", "contract_id": "varchar", "cluster": "varchar", "owner": "varchar", "provider": "varchar",
    "model": "varchar", "effective_cost": "decimal(38, 12)",
}  # fmt: skip
DRIVER = {"usage_date": "date", "target": "varchar", "weight": "decimal(38, 12)", "vector_index_id": "varchar"}
Weights = Iterable[tuple[str, str, str]]  # target, weight, index


def shares(
    con: duckdb.DuckDBPyConnection, loaded: Policy, charges: list[tuple[str, str, date, str]], **drivers: Weights
) -> dict[tuple[str, str], tuple[Decimal, int]]:
    """(charge, team) -> its part and the fallback level; charges are (id = index, activity, day, cost)."""
    portions = [
        {"charge_id": f"{index} {day}", "portion": "whole", "usage_date": day, "charge_category": "Usage", "activity": activity,
         "vector_index_id": index, "effective_cost": cost}
        for index, activity, day, cost in charges
    ]  # fmt: skip
    shaped(con, "portions", COLUMNS, portions)
    keepers = asset("sql", "allocate", "drivers", "index_owners.sql").read_text()
    models.make(con, models.Model("allocate", "given_index_owners", keepers, "", ""), PARAMS)
    for name, rows in drivers.items():
        shaped(con, f"given_{name}", DRIVER, [dict(zip(("target", "weight", "vector_index_id"), row, strict=True)) for row in rows])

    def driver(name: str) -> str:
        given = name in drivers or name == "index_owners"
        return f"given_{name}" if given else "select null::varchar as target, 1 as weight where false"

    rules = replace(loaded.allocation, support_teams=())  # what reaches the platform stays there
    rules = replace(rules, rules=tuple(rule for rule in rules.rules if rule.id != "platform-overhead"), pools=tuple(p for p in rules.pools if p.name != "platform"))
    engine.run(con, rules, portions="portions", measures=["effective_cost"], period=OCTOBER, driver=driver)
    found = con.execute("select charge_id, target, effective_cost, fallback_level from allocations").fetchall()
    return {(charge, team): (cost, level) for charge, team, cost, level in found}


def test_storage_goes_to_the_keeper_of_the_day_else_to_who_searched_else_to_the_platform(con, loaded: Policy) -> None:
    charges = [("handbook", "storage", BEFORE, "3"), ("handbook", "storage", AFTER, "5"), ("reviews", "storage", AFTER, "8"), ("stray", "storage", AFTER, "2")]
    searched = [("marketing", "1", "reviews"), ("assistant", "3", "reviews"), ("docs", "9", "handbook")]
    assert shares(con, loaded, charges, index_queries=searched) == {
        ("handbook 2026-10-11", "support"): (3, 0),
        ("handbook 2026-10-12", "risk"): (5, 0),  # docs only searches it
        ("reviews 2026-10-12", "assistant"): (6, 1),
        ("reviews 2026-10-12", "marketing"): (2, 1),
        ("stray 2026-10-12", "platform"): (2, 2),
    }


def test_a_day_without_a_keeper_is_paid_by_who_searched(folder: Path) -> None:
    teams = folder / "teams.yaml"
    teams.write_text(teams.read_text().replace("{id: support, to: 2026-10-12}", "{id: support, to: 2026-10-11}"))
    gap = policy.load(folder)
    con = warehouse.memory()
    policy.register(con, gap)
    found = shares(con, gap, [("handbook", "storage", BEFORE, "3"), ("handbook", "storage", AFTER, "5")], index_queries=[("docs", "9", "handbook")])
    assert found == {("handbook 2026-10-11", "docs"): (3, 1), ("handbook 2026-10-12", "risk"): (5, 0)}


def test_two_keepers_on_one_day_are_refused(folder: Path) -> None:
    teams = folder / "teams.yaml"
    teams.write_text(teams.read_text().replace("{id: support, to: 2026-10-12}", "{id: support, to: 2026-10-13}"))
    with pytest.raises(Refused, match=r"teams.yaml:\d+: owners of handbook overlap"):
        policy.load(folder)


def test_upkeep_falls_from_searches_to_vectors_to_subscribers_to_the_platform(con, loaded: Policy) -> None:
    charges = [(index, "index_maintenance", AFTER, "12") for index in ("catalog", "reviews", "handbook", "stray")]
    found = shares(
        con, loaded, charges,
        index_queries=[("search", "2", "catalog"), ("assistant", "1", "catalog"), ("docs", "0", "reviews")],
        index_vectors=[("marketing", "30", "reviews"), ("search", "10", "reviews"), ("docs", "7", "catalog"), ("docs", "0", "handbook")],
        index_subscribers=[("risk", "1", "handbook"), ("support", "50", "handbook"), ("docs", "1", "catalog")],
    )  # fmt: skip
    assert found == {
        ("catalog 2026-10-12", "search"): (8, 0),
        ("catalog 2026-10-12", "assistant"): (4, 0),
        ("reviews 2026-10-12", "marketing"): (9, 1),
        ("reviews 2026-10-12", "search"): (3, 1),
        ("handbook 2026-10-12", "risk"): (6, 2),  # evenly: a subscriber counts once
        ("handbook 2026-10-12", "support"): (6, 2),
        ("stray 2026-10-12", "platform"): (12, 3),
    }


@pytest.mark.parametrize(
    "vectors, said",
    [
        ([("marketing", "-1", "reviews")], "a negative weight for marketing"),
        ([("marketing", "1", "reviews"), ("marketing", "2", "reviews")], "two rows for the same key and target marketing"),
        ([("", "1", "reviews")], "a row without a target"),
    ],
)
def test_broken_vectors_are_refused(con, loaded: Policy, vectors: Weights, said: str) -> None:
    with pytest.raises(Refused, match=said):
        shares(con, loaded, [("reviews", "index_maintenance", AFTER, "12")], index_vectors=vectors)


def test_a_landed_driver_without_rows_for_the_month_is_empty_and_one_never_landed_is_unknown(con) -> None:
    con.execute("create table drivers(usage_period varchar, driver varchar, usage_date date, keys json, target varchar, weight decimal(38, 12))")
    con.execute("insert into drivers values ('2026-09', 'index_vectors', '2026-09-30', '{\"vector_index_id\": \"reviews\"}', 'marketing', 30)")
    run = SimpleNamespace(con=con)
    for period, held in (("2026-09", 1), ("2026-10", 0)):
        scope = SimpleNamespace(period=SimpleNamespace(label=period), params=PARAMS)
        table = allocate.driver_table(run, scope, "index_vectors")
        assert con.execute(f"select count(vector_index_id) from {table}").fetchall() == [(held,)]
        assert allocate.driver_table(run, scope, "index_bytes") is None


# --- bill lines that join a pot ------------------------------------------------------------------------------------


def lines(con: duckdb.DuckDBPyConnection, source: str, *billed: dict[str, object]) -> list[tuple[str, str | None]]:
    """(activity, index) of bill lines of that source, in order."""
    day = date(2026, 10, 4)
    common = {
        "billing_account_id": "a", "sub_account_id": "444455556666", "charge_category": "Usage", "usage_date": day, "charge_period_start": day,
        "charge_period_end": date(2026, 10, 5), "billing_period": "2026-10", "billing_period_start": OCTOBER[0], "billing_period_end": OCTOBER[1],
        "effective_cost": "1", "billed_cost": "1", "billing_currency": "USD", "source": source, "delivery_id": "d1", "source_file": "f",
    }  # fmt: skip
    more = {"source": "varchar", "delivery_id": "varchar", "source_file": "varchar", "source_row": "bigint"}
    shaped(con, "landed_invoices", SHAPES["invoices"] | more, [])
    shaped(con, "landed_bills", BILL_LINE | more, [{**common, **line, "source_row": n} for n, line in enumerate(billed)])
    con.execute("create or replace table source_files as select 'd1' as delivery_id, 1 as seq, 'f' as path, 'billing' as kind, 'landed' as state")
    con.execute(
        "create or replace table bill_coverage as select 'd1' as delivery_id, ? as source, 'a' as billing_account_id, '2026-10' as billing_period,"
        " null::date as usage_date", [source],
    )  # fmt: skip
    shaped(con, "model_names", dict.fromkeys(("usage_period", "provider", "model_as_logged", "model"), "varchar"), [])
    models.make(con, model("normalize", "bill_lines"), PARAMS)
    return con.execute("select activity, vector_index_id from bill_lines order by source_row").fetchall()


def test_lines_of_other_services_join_the_pot_of_an_index(con) -> None:
    storage, glue = "Amazon Simple Storage Service", "AWS Glue"
    found = lines(
        con, "aws", {"service": storage, "resource_id": "larkfield-contract-documents"}, {"service": glue, "resource_id": "contracts-cleanup-2"},
        {"service": storage, "resource_id": "someone-elses-bucket"}, {"service": glue, "resource_id": "nightly-etl"},
    )  # fmt: skip
    assert found == [("storage", "contracts"), ("index_maintenance", "contracts"), ("other", None), ("other", None)]


def test_the_vendor_names_its_own_indexes_and_its_plan_minimum_has_none(con) -> None:
    meters = [{"sku_meter": meter, "resource_id": "catalog"} for meter in ("Read Units", "Write Units", "Storage", "Backup")]
    found = lines(con, "pinecone", *meters, {"sku_meter": "Plan Minimum", "charge_category": "Purchase"})
    assert found == [("query", "catalog"), ("embedding", "catalog"), ("storage", "catalog"), ("index_maintenance", "catalog"), ("platform", None)]


def test_the_first_rule_that_matches_decides_the_pot(folder: Path) -> None:
    sources = folder / "sources.yaml"
    first = '      - {service: "AWS Glue", resource_id: "contracts-cleanup-shared", activity: platform}\n'
    text = sources.read_text()
    at = text.index('      - {service: "AWS Glue"')
    sources.write_text(text[:at] + first + text[at:])
    con = warehouse.memory()
    con.execute(asset("sql", "macros.sql").read_text())
    policy.register(con, policy.load(folder))
    glue = {"service": "AWS Glue"}
    assert lines(con, "aws", {**glue, "resource_id": "contracts-cleanup-shared"}, {**glue, "resource_id": "contracts-cleanup"}) == [
        ("platform", None), ("index_maintenance", "contracts"),
    ]  # fmt: skip


def test_what_the_bill_says_is_unused_is_idle_unless_a_rule_says_what_it_was_for(con) -> None:
    unused = {"commitment_status": "Unused", "model_as_logged": "nova", "charge_category": "Purchase"}
    found = lines(con, "aws", unused, {**unused, "commitment_status": "Used"}, {**unused, "service": "AWS Glue", "resource_id": "contracts-cleanup"})
    assert [activity for activity, _ in found] == ["commitment_idle", "inference", "index_maintenance"]

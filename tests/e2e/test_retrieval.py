"""Retrieval in the sample company, to the dollar: each index is its own pot, and its name stands on what people read."""

from __future__ import annotations

from collections import defaultdict
from datetime import date
from decimal import Decimal

import openpyxl
import pytest

from pipelines.home import Home
from pipelines.inspection import explain, explain_text
from pipelines.sample import Truth, expected
from pipelines.sample import company as larkfield

TRUTH = expected.as_of(Truth.make(), date(2026, 10, 31))
PERIODS = ("2026-09", "2026-10")
PICO = Decimal("0.000000000001")
SPLIT = """
    select c.vector_index_id, l.team_id, l.driver, sum(l.effective_cost)
    from ledger l join charges c on c.charge_id = l.charge_id
    where l.original_period = ? and l.rule_id = ? group by all having sum(l.effective_cost) <> 0
"""


def test_re_embedding_is_paid_by_the_team_whose_documents_had_changed(rows) -> None:
    """Docs' job embedded contracts again because risk had changed theirs; platform's job the handbook, for who kept it that day."""
    found = rows("select usage_date, caller_team_id, team_id, contracted_cost from usage_events where trace_id = ? order by 1", [larkfield.REEMBEDDING_TRACE])
    assert found == [
        (date(2026, 10, 9), "platform", "support", Decimal("0.39")),
        (date(2026, 10, 13), "platform", "risk", Decimal("0.65")),
        (date(2026, 10, 14), "docs", "risk", Decimal("2.60")),
        (date(2026, 10, 21), "marketing", "marketing", Decimal("0.26")),
    ]
    billed = rows(
        """
        select usage_date, project_id, sum(effective_cost) from ledger
        where model = ? and rule_id = 'own-tokens' and team_id = 'risk' group by all order by 1
        """,
        [larkfield.REEMBEDDING_MODEL],
    )
    assert [row[:2] for row in billed] == [(date(2026, 10, 13), "platform-gateway"), (date(2026, 10, 14), "docs-embeddings")]
    assert [abs(cost - wanted) <= 9 * PICO for (*_, cost), wanted in zip(billed, (Decimal("0.65"), Decimal("2.60")), strict=True)] == [True, True]


@pytest.mark.parametrize("period", PERIODS)
def test_storage_is_paid_by_who_kept_the_index_on_the_day(rows, period: str) -> None:
    wanted = expected.index_storage(TRUTH, period)
    found = {(index, team): cost for index, team, driver, cost in rows(SPLIT, [period, "vector-storage"]) if driver == "index_owners"}
    assert found == {key: cost for key, cost in wanted.items() if key[1]}
    assert found["contracts", "docs"] > 100  # with the documents behind it
    if period == "2026-10":
        assert (found["handbook", "support"], found["handbook", "risk"]) == (Decimal("0.7128"), Decimal("1.296"))


def test_storage_that_nobody_keeps_is_paid_by_who_searched_and_before_any_search_by_the_platform(rows) -> None:
    searched = {team: n for (index, team), n in expected.index_queries(TRUTH, "2026-10").items() if index == "reviews"}
    cost = expected.index_storage(TRUTH, "2026-10")["reviews", None]
    found = {team: part for index, team, driver, part in rows(SPLIT, ["2026-10", "vector-storage"]) if driver == "index_queries"}
    assert found.keys() == searched.keys() == {"assistant", "marketing"} and sum(found.values()) == cost
    assert all(abs(found[team] - cost * n / sum(searched.values())) < 100 * PICO for team, n in searched.items())
    passed_on = rows("select team_id, sum(effective_cost) from allocation_steps where period = '2026-09' and rule_id = 'vector-storage' group by all")
    assert passed_on == [("platform", expected.index_storage(TRUTH, "2026-09")["reviews", None])]


@pytest.mark.parametrize("period", PERIODS)
def test_upkeep_goes_by_searches_then_vectors_then_subscribers(rows, period: str) -> None:
    upkeep, searches = expected.index_upkeep(TRUTH, period), expected.index_queries(TRUTH, period)
    bases: dict[str, str] = {}
    found: dict[str, dict[str, Decimal]] = defaultdict(dict)
    for index, team, driver, cost in rows(SPLIT, [period, "index-maintenance"]):
        assert bases.setdefault(index, driver) == driver
        found[index][team] = cost
    by_vectors = {"reviews": "index_vectors"} if period == "2026-09" else {"reviews": "index_queries"}
    assert bases == {"catalog": "index_queries", "contracts": "index_queries", "help-center": "index_queries", "handbook": "index_subscribers", **by_vectors}
    assert {index: sum(parts.values()) for index, parts in found.items()} == upkeep
    for index, basis in bases.items():
        if basis == "index_queries":
            weights = {team: n for (i, team), n in searches.items() if i == index}
        else:
            weights = larkfield.INDEX_VECTORS[index] if basis == "index_vectors" else dict.fromkeys(larkfield.INDEX_SUBSCRIBERS[index], 1)
        wanted = {team: upkeep[index] * n / sum(weights.values()) for team, n in weights.items()}
        assert found[index].keys() == wanted.keys()
        assert all(abs(found[index][team] - cost) < 100 * PICO for team, cost in wanted.items()), (index, basis)


def test_the_plan_minimum_is_a_shortfall_that_every_team_shares(rows) -> None:
    for period in PERIODS:
        found = rows(
            """
            select l.rule_id, count(distinct l.team_id), sum(l.effective_cost), any_value(c.vector_index_id)
            from ledger l join charges c on c.charge_id = l.charge_id
            where c.sku_meter = 'Plan Minimum' and l.period = ? and l.original_period = ? group by all
            """,
            [period, period],
        )
        billed = sum(line.billed_cost for line in TRUTH.bill_lines if line.meter == "Plan Minimum" and line.month == period)
        assert found == [("platform-overhead", 7, billed, None)] and billed > 0


def test_shared_costs_add_up_to_every_statement_line_and_name_each_pot(rows) -> None:
    differing = rows(
        """
        with shared as (select period, version, line_id, sum(effective_cost) as cost, sum(chargeback_cost) as charged from shared_costs group by all),
        held as (select period, version, line_id, sum(effective_cost) as cost, sum(chargeback_cost) as charged from ledger group by all)
        select * from held h full join shared s using (period, version, line_id)
        where h.cost is distinct from s.cost or h.charged is distinct from s.charged
        """
    )
    assert differing == []
    pots = rows("select distinct vector_index_id, pot from shared_costs where rule_id = 'index-maintenance' order by 1")
    assert pots == [
        ("catalog", "Product catalog"), ("contracts", "Contract archive"), ("handbook", "Employee handbook"),
        ("help-center", "Help center articles"), ("reviews", "Product reviews"),
    ]  # fmt: skip
    assert rows("select distinct pot from shared_costs where rule_id in ('platform-overhead', 'own-tokens', 'credits')") == [(None,)]
    shares = rows("select count(*) from shared_costs where abs(our_units - our_share * all_units) > 0.000001 * all_units")
    assert shares == [(0,)]


def test_explain_and_the_workbook_say_which_index(company: Home) -> None:
    lines = explain(company, "docs", "2026-10", None)["lines"]
    line = next(row["line_no"] for row in lines if row["activity"] == "index_maintenance" and row["service"] == "Pinecone Database")
    found = explain(company, "docs", "2026-10", line)
    assert {pot["pot"] for pot in found["pots"]} == {"Contract archive", "Help center articles", "Employee handbook"}
    assert "(pool index_maintenance, Contract archive, " in explain_text(found)
    (book,) = (company.reports / "2026-10" / "draft").glob("*-docs-*.xlsx")
    sheet = openpyxl.load_workbook(book, read_only=True)["Shared costs"]
    pools = {(row[1], row[2]) for row in sheet.iter_rows(min_row=5, values_only=True)}
    assert {("Index upkeep", "Contract archive: Pinecone Database"), ("Index upkeep", "Help center articles: Pinecone Database"),
            ("Index storage", "Contract archive: Amazon Simple Storage Service")} <= pools  # fmt: skip

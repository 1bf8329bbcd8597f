"""The pipeline finds the sample company's truth again: usage exactly, money to the cent per team, differences by name."""

from __future__ import annotations

from collections import defaultdict
from datetime import date
from decimal import Decimal
from fractions import Fraction

import pytest

from pipelines.sample import Truth, bills, company, expected
from pipelines.sample.truth import TOKEN_METERS

TRUTH = expected.as_of(Truth.make(), date(2026, 10, 31))
CENT = Decimal("0.01")
PERIODS = ("2026-09", "2026-10")


def test_every_event_once(rows) -> None:
    assert rows("select count(*), count(distinct source || event_id) from usage_events") == [(len(TRUTH.events),) * 2]


@pytest.mark.parametrize("period", PERIODS)
def test_tokens_per_team_model_and_meter(rows, period: str) -> None:
    sums = ", ".join(f"sum({meter}_tokens)::bigint as {meter}" for meter in TOKEN_METERS)
    found = rows(
        f"""
        with sums as (
            select team_id, coalesce(serving_pool, provider) as provider, coalesce(model, '') as model, {sums}
            from usage_events where strftime(usage_date, '%Y-%m') = ? group by all
        ),
        meters as (unpivot sums on {", ".join(TOKEN_METERS)} into name meter value tokens)
        select * from meters where tokens > 0
        """,
        [period],
    )
    names = {"hosted_vllm": "llama-pool"}
    wanted = {(team, names.get(p, p), model, meter): n for (team, p, model, meter), n in expected.tokens(TRUTH, period).items()}
    assert {row[:4]: row[4] for row in found} == wanted


@pytest.mark.parametrize("period", PERIODS)
def test_metered_cost_per_team_at_list_and_contract(rows, period: str) -> None:
    found = rows(
        "select team_id, sum(list_cost), sum(contracted_cost) from usage_events"
        " where strftime(usage_date, '%Y-%m') = ? and list_cost is not null and serving_pool is null group by all having sum(list_cost) > 0",
        [period],
    )
    assert_close({team: cost for team, cost, _ in found}, expected.api_list_cost(TRUTH, period))
    assert_close({team: cost for team, _, cost in found}, expected.api_cost(TRUTH, period))


@pytest.mark.parametrize("period", PERIODS)
def test_each_team_pays_its_own_calls_to_the_cent(rows, period: str) -> None:
    """Its metered calls at our prices and, where a bill says more or less than that, its part of the named true-up."""
    found = dict(
        rows(
            """
            select l.team_id, sum(l.effective_cost)
            from ledger l join charges c on c.charge_id = l.charge_id
            where l.original_period = ? and l.portion = 'metered' and l.stage = 0 and l.activity in ('inference', 'embedding')
                and c.provider in ('openai', 'anthropic', 'google', 'aws') and c.model <> 'gpt-preview-internal' and l.serving_pool is null
            group by all
            """.replace("l.serving_pool", "c.serving_pool"),
            [period],
        )
    )
    own, more = expected.api_cost(TRUTH, period), expected.true_ups(TRUTH, period, Decimal("1.10"))
    assert any(abs(amount) > 1 for amount in more.values())
    wanted = {team: cost + more.get(team, 0) for team, cost in own.items()}
    passed_on = rows("select sum(effective_cost) from allocation_steps where period = ? and rule_id = 'own-tokens'", [period])
    found["platform"] = passed_on[0][0]  # a support team: its own calls become overhead of the others
    assert_close(found, wanted, CENT)


def test_billed_cost_per_vendor_and_month(rows) -> None:
    found = rows(
        "select provider, original_period, sum(billed_cost) from charges where origin = 'bill' or corrects_charge_id is not null"
        " group by all having sum(billed_cost) <> 0"
    )
    assert {row[:2]: row[2] for row in found} == {k: v for k, v in expected.billed(TRUTH).items() if v}


def test_lines_that_are_not_ours_are_counted_and_never_charged(rows) -> None:
    found = rows("select provider, strftime(usage_date, '%Y-%m'), sum(billed_cost) from bill_lines where not in_scope group by all")
    assert {row[:2]: row[2] for row in found} == expected.out_of_scope(TRUTH)
    assert rows("select count(*) from charges c join bill_lines b using (charge_id) where not b.in_scope") == [(0,)]


def test_usage_that_no_gateway_saw_is_named(rows) -> None:
    found = dict(
        ((provider, period), cost)
        for provider, period, cost in rows(
            """
            select c.provider, l.original_period, sum(l.effective_cost)
            from ledger l join charges c on c.charge_id = l.charge_id
            where l.portion = 'excess' and c.model is not null and c.provider in ('openai', 'anthropic')
                and c.model <> 'gpt-preview-internal'
            group by all having sum(l.effective_cost) <> 0
            """
        )
    )
    wanted = {key: cost for key, cost in expected.unmetered(TRUTH).items() if key[0] in ("openai", "anthropic")}
    assert found.keys() <= wanted.keys() | {("anthropic", "2026-09")}
    for key, cost in found.items():
        assert cost <= wanted.get(key, 0) + CENT


STATE = (
    "select state, sum(billed_cost - metered_cost), sum(metered_cost), sum(billed_cost) from reconciliation"
    " where provider = $provider and model = $model and usage_date between $first and $last and state <> 'matched' group by all"
)


def test_traffic_past_the_gateways_is_a_quantity_or_where_the_bill_counts_nothing_a_cost(rows) -> None:
    """OpenAI's bill has quantities, Anthropic's has none: 35 % of a day and 2 % of two days, by name and to the dollar."""
    unseen = expected.unmetered(TRUTH)
    ((state, more, metered, billed),) = rows(STATE, {"provider": "openai", "model": "gpt-5", "first": date(2026, 9, 17), "last": date(2026, 9, 17)})
    assert state == "variance_quantity" and abs(more - unseen["openai", "2026-09"]) < CENT and billed == metered + more
    parts = rows(
        "select sum(quantity_variance), sum(abs(price_variance)), sum(abs(cross_variance)) from reconciliation"
        " where provider = 'openai' and model = 'gpt-5' and usage_date = '2026-09-17'"
    )
    assert abs(parts[0][0] - more) < CENT and parts[0][1] < CENT and parts[0][2] < CENT
    ((state, more, _, _),) = rows(STATE, {"provider": "anthropic", "model": "claude-sonnet-4-5", "first": date(2026, 10, 8), "last": date(2026, 10, 8)})
    assert state == "variance_cost" and abs(more - unseen["anthropic", "2026-10"]) < CENT


def test_a_price_that_the_vendor_raised_is_a_price_and_a_drift(rows) -> None:
    ((month, model, meter),) = changed = expected.price_change(TRUTH)
    wanted = changed[month, model, meter]
    assert wanted > 10
    ((state, more, _, _),) = rows(STATE, {"provider": "openai", "model": model, "first": date(2026, 10, 24), "last": date(2026, 10, 29)})
    assert state == "variance_price" and abs(more - wanted) < CENT
    parts = rows(
        "select sum(abs(quantity_variance)), sum(price_variance), sum(abs(cross_variance)), any_value(meter) from reconciliation"
        " where provider = 'openai' and state = 'variance_price' and period = '2026-10'"
    )
    assert parts[0][0] < CENT and abs(parts[0][1] - wanted) < CENT and parts[0][2] < CENT and parts[0][3] == meter
    assert [(what, abs(amount - wanted) < CENT) for what, amount in rows("select what, amount from exceptions where kind = 'drift'")] == [(f"openai {model}", True)]


def test_a_bill_in_another_unit_is_suspected_and_costs_nobody_anything(rows) -> None:
    used, cost = expected.wrong_unit(TRUTH)
    day, model, meter = company.UNIT_ERROR
    found = rows("select state, billed_quantity, billed_cost, metered_cost from reconciliation where model = ? and meter = ? and usage_date = ?", [model, meter, day])
    ((state, counted, billed, metered),) = found
    assert state == "variance_quantity" and counted == used / 1000 and billed == cost and abs(metered - billed) < CENT
    alarms = rows("select what, amount, events, detail from exceptions where kind = 'unit_suspect'")
    assert alarms == [(f"openai {model} {meter}", max(billed, metered), 1, f"the bill has 1/1000 of what was metered on {day}")]
    assert rows("select count(*) from ledger where portion = 'excess' and usage_date = ? and model = ?", [day, model]) == [(0,)]


def test_days_of_the_late_bill_are_accrued_as_estimated(rows) -> None:
    wanted = expected.late_bill(TRUTH)
    found = rows("select provider, usage_date, sum(metered_cost) from reconciliation where state = 'unbilled' and not is_billed_day group by all")
    assert {row[:2] for row in found} == set(wanted)
    for provider, day, cost in found:
        assert abs(cost - wanted[provider, day]) < CENT
    accrued = rows("select usage_date, sum(effective_cost), sum(billed_cost), any_value(estimate_status), count(distinct estimate_status) from charges where origin = 'accrual' group by all")
    for day, cost, billed, status, statuses in accrued:
        assert abs(cost - wanted["openai", day]) < CENT and (billed, status, statuses) == (0, "Estimated", 1)


def test_a_bill_is_final_by_the_rule_of_its_vendor(rows) -> None:
    """AWS once all lines of the month are invoiced and its document is equal, which has come for September; the others some days after the usage."""
    found = {row[0]: row[1:] for row in rows(
        "select provider, max(usage_date) filter (estimate_status = 'Final'), min(usage_date) filter (estimate_status = 'Estimated') from charges"
        " where period = '2026-10' and origin = 'bill' and original_period = '2026-10' group by all"
    )}  # fmt: skip
    assert found["aws"] == (date(2026, 10, 31), date(2026, 10, 1))  # what September's invoice billed for a term is final on all its days
    assert found["anthropic"] == found["google"] == (date(2026, 10, 26), date(2026, 10, 27))
    assert found["pinecone"] == (date(2026, 10, 28), date(2026, 10, 29))


def test_a_key_that_teams_share_leaves_nothing_unmetered(rows) -> None:
    """Four teams call through one project of OpenAI: each pays its own, and the project has no excess to guess about."""
    found = rows(
        "select count(distinct l.team_id), sum(l.billed_cost) filter (l.portion = 'excess') from ledger l join charges c using (charge_id)"
        " where c.provider = 'openai' and c.sub_account_id = 'proj_gateway' and c.model = 'gpt-5-mini' and l.original_period = '2026-10'"
    )
    assert found[0][0] >= 3 and not found[0][1]


def test_every_account_and_month_is_carried_to_the_last_digit(rows) -> None:
    """Teams and unallocated carry what was billed, lines of others aside, and coverage divides the same dollars."""
    billed = {key: amount for key, amount in expected.billed(TRUTH).items() if amount}
    carried = rows("select c.provider, l.original_period, sum(l.billed_cost) from ledger l join charges c using (charge_id) group by all having sum(l.billed_cost) <> 0")
    assert {row[:2]: row[2] for row in carried} == billed
    covered = rows("select provider, period, billed_cost, metered_cost + excess_cost + unmetered_cost + non_usage_cost from billing_coverage where billed_cost <> 0")
    assert {row[:2]: row[2] for row in covered} == {row[:2]: row[3] for row in covered} == billed
    compared = rows("select provider, period, sum(billed_cost) from reconciliation where billed_cost is not null and scope = 'in_scope' group by all having sum(billed_cost) <> 0")
    cost = rows(
        "select provider, original_period, sum(effective_cost) from charges where origin = 'bill' or corrects_charge_id is not null"
        " group by all having sum(effective_cost) <> 0"
    )
    assert sorted(compared) == sorted(cost)  # what was paid ahead is compared where it is used


def test_invoice_documents_meet_their_bills(rows) -> None:
    """One with an odd cent, one that came after the close, one restated; the lines of others are on the document too."""
    found = {row[0]: row[1:] for row in rows("select provider, state, issued_on, round(difference, 2), out_of_scope_cost from invoice_reconciliation where period = '2026-09'")}
    assert {provider: row[0] for provider, row in found.items()} == {
        "openai": "rounding", "anthropic": "matched", "google": "matched", "pinecone": "matched", "aws": "matched",
    }  # fmt: skip
    assert found["openai"][2] == CENT and found["anthropic"][1] == date(2026, 10, 14)
    assert found["aws"][3] == expected.out_of_scope(TRUTH)["aws", "2026-09"]
    assert {row[0] for row in rows("select state from invoice_reconciliation where period = '2026-10'")} == {"not_due"}


@pytest.mark.parametrize("period", PERIODS)
def test_vector_indexes_are_paid_by_who_searches_and_whose_documents(rows, period: str) -> None:
    for activity, driver in (("query", expected.index_queries), ("embedding", expected.index_write_units), ("index_maintenance", expected.index_queries)):
        used = driver(TRUTH, period)
        cost = dict(
            ((index, team), amount)
            for index, team, amount in rows(
                """
                select c.vector_index_id, l.team_id, sum(l.effective_cost)
                from ledger l join charges c on c.charge_id = l.charge_id
                where l.original_period = ? and c.activity = ? and c.vector_index_id is not null group by all
                """,
                [period, activity],
            )
        )
        for index in {index for index, _ in cost}:
            total = sum(amount for (i, _), amount in cost.items() if i == index)
            units = {team: n for (i, team), n in used.items() if i == index}
            assert total > 0
            for team, n in units.items():
                assert abs(cost[index, team] - total * n / sum(units.values())) < CENT, (activity, index, team)


def test_gpu_seconds_per_team_and_day(rows) -> None:
    found = rows("select team_id, usage_date, sum(gpu_seconds) from gpu_usage where cluster = 'batch' group by all")
    assert {row[:2]: row[2] for row in found} == expected.gpu_seconds(TRUTH)


@pytest.mark.parametrize("period", PERIODS)
def test_notebooks_pay_for_what_they_held_at_the_price_of_the_hour(rows, period: str) -> None:
    """Used and reserved idle are the holders', the rest of sliced cards and free cards are shared; hours priced one by one."""
    wanted = expected.notebook_cost(TRUTH, period)
    found = {
        (use, team): cost
        for use, team, cost in rows(
            """
            select l.portion, case when l.portion in ('used', 'idle_reserved') then l.team_id else 'unallocated' end, sum(l.effective_cost)
            from ledger l join charges c on c.charge_id = l.charge_id
            where l.original_period = ? and c.service = 'GPU cluster notebooks' group by all
            """,
            [period],
        )
    }
    assert found.keys() == wanted.keys()
    for key, cost in wanted.items():
        assert abs(Fraction(found[key]) - cost) < Fraction(1, 100_000), key


def test_tokens_that_only_the_model_server_counted_are_a_portion_without_an_owner(rows) -> None:
    found = rows("select usage_date, sum(unattributed_tokens)::bigint from serving_coverage where unattributed_tokens > 0 group by all")
    gaps = expected.unlogged_tokens(TRUTH)
    assert dict(found) == gaps and set(gaps) == set(company.CALLED_DIRECTLY)
    owners = rows("select team_id, usage_date, sum(effective_cost) > 0 from ledger where portion = 'unattributed' and original_period = '2026-10' group by all order by all")
    assert owners == [("unallocated", day, True) for day in sorted(gaps)]


@pytest.mark.parametrize("period", PERIODS)
def test_the_model_server_is_shared_by_weighted_tokens(rows, period: str) -> None:
    weights = expected.weighted_tokens(TRUTH, period)
    found = dict(
        rows(
            """
            select l.team_id, sum(l.effective_cost) from ledger l join charges c on c.charge_id = l.charge_id
            where l.original_period = ? and c.serving_pool = 'llama-pool' and c.origin <> 'tariff' and l.cost_pool = 'gpu_serving' group by all
            """,
            [period],
        )
    )
    total = sum(found.values())
    assert total > 0
    for team, weight in weights.items():
        assert abs(found[team] - total * weight / sum(weights.values())) < CENT, team
    rates = rows("select meter, weighted_tokens, used_cost, usage_rate_per_million, full_rate_per_million, idle_cost from blended_rates where period = ?", [period])
    (everything,) = [rate for rate in rates if rate[0] == "all"]
    assert sum(rate[1] for rate in rates) == 2 * everything[1]
    _, weighted, used, by_use, full, idle = everything
    assert weighted >= sum(weights.values()) and used >= total
    assert abs(by_use - used * 1_000_000 / weighted) < Decimal("0.000001")
    assert abs(full - (used + idle) * 1_000_000 / weighted) < Decimal("0.000001") and idle > 0
    per_kind = {rate[0]: rate[3] for rate in rates}
    assert abs(per_kind["output"] - 4 * by_use) < Decimal("0.000001") and abs(per_kind["cache_read"] * 10 - by_use) < Decimal("0.000001")


def test_a_model_that_no_list_knows_is_rated_by_its_bill(rows) -> None:
    """Its price comes from the bill that counts what it charges, to the last digit; nothing is left without a price."""
    tokens, cost = rows(
        "select sum(input_uncached_tokens + cache_read_tokens + cache_write_5m_tokens + cache_write_1h_tokens + output_tokens + reasoning_tokens)::bigint,"
        " sum(contracted_cost) from usage_events where rate_source = 'bill' and list_cost is null and rate_id is not null"
    )[0]
    assert tokens == expected.unpriced_tokens(TRUTH)
    billed = sum(
        Fraction(company.billed_price(e.provider, e.model or "", meter, e.day)) * count / 1_000_000
        for e in TRUTH.events
        if (e.provider, e.model) in company.BILL_ONLY_PRICES
        for meter, count in e.meters()
    )
    assert Fraction(cost) == billed
    assert rows("select count(*) from usage_events where rate_source = 'unpriced' and serving_pool is null and model is not null") == [(0,)]
    assert rows("select count(*) from exceptions where kind = 'unpriced'") == [(0,)]


def test_avoided_tokens_of_the_gateway_cache(rows) -> None:
    found = rows("select sum(avoided_input_tokens)::bigint, sum(avoided_output_tokens)::bigint from usage_events")
    assert found == [expected.avoided_tokens(TRUTH)]


def test_docs_moves_to_another_cost_center_in_the_middle_of_october(rows) -> None:
    found = rows(
        "select cost_center, min(usage_date), max(usage_date) from ledger where team_id = 'docs' and original_period = '2026-10' group by all order by 1"
    )
    assert found == [("CC-4100", date(2026, 10, 1), date(2026, 10, 15)), ("CC-5100", date(2026, 10, 16), date(2026, 10, 31))]


def test_late_files_and_the_restated_bill_become_corrections_of_september(rows) -> None:
    """September is what was known at its close; what came later is booked in October and adds up to today's truth."""
    at_close = expected.billed(expected.as_of(Truth.make(), date(2026, 10, 5)))
    now = expected.billed(TRUTH)
    restated = {p: now[p, m] - at_close[p, m] for p, m in now if m == "2026-09" and now[p, m] != at_close[p, m]}
    assert set(restated) == {"aws"}
    found = dict(
        rows(
            "select provider, sum(billed_cost) from charges where corrects_charge_id is not null and original_period = '2026-09'"
            " and period = '2026-10' group by all having sum(billed_cost) <> 0"
        )
    )
    assert found == restated
    closed = rows("select provider, sum(billed_cost) from charges where period = '2026-09' and origin = 'bill' group by all having sum(billed_cost) <> 0")
    assert dict(closed) == {p: v for (p, m), v in at_close.items() if m == "2026-09" and v}


@pytest.mark.parametrize("period", PERIODS)
def test_what_is_bought_for_a_term_costs_every_day_of_it(rows, period: str) -> None:
    """Billed in September; each month carries its own days, of the licence through the platform team, of the model on its team."""
    found = rows(
        """
        select c.contract_id, sum(c.effective_cost), sum(c.billed_cost)
        from charges c where c.original_period = ? and c.contract_id is not null group by all order by 1
        """,
        [period],
    )
    days = expected.spread(TRUTH, period)
    model, licence = days["Training of docs-extractor"], days["Gateway licence, 90 days"]
    assert [row[0] for row in found] == ["docs-extractor", "gateway-licence"]
    assert [row[2] for row in found] == ([bills.TRAINING, bills.LICENCE] if period == "2026-09" else [0, 0])
    assert [Fraction(row[1]) for row in found] == [model, licence]
    owners = rows(
        "select distinct l.team_id, l.activity from ledger l join charges c using (charge_id) where c.contract_id = 'docs-extractor' and l.original_period = ?", [period]
    )
    assert owners == [("docs", "training")]


def test_the_total_is_what_was_billed_plus_declared_hardware(rows) -> None:
    """Statements, rounded once per legal entity, carry exactly the vendors' bills and the declared hardware."""
    notebooks = sum((sum(expected.notebook_cost(TRUTH, period).values()) for period in PERIODS), Fraction())
    hardware = Decimal("1.85") * 16 * 24 * len(TRUTH.days()) + Decimal(notebooks.numerator) / notebooks.denominator
    accrued = rows("select coalesce(sum(effective_cost), 0) from charges where origin = 'accrual'")[0][0]
    total = rows("select sum(total_amount) from statements where state <> 'SUPERSEDED'")[0][0]
    later = expected.deferred(TRUTH)
    exact = sum(expected.billed(TRUTH).values()) + hardware + accrued - Decimal(later.numerator) / later.denominator
    assert rows("select sum(chargeback_cost) from ledger") == [(exact,)]
    entities = len(company.MONTHS) * 2
    assert abs(total - exact) <= entities * CENT / 2


def assert_close(found: dict[str, Decimal], wanted: dict[str, Decimal], within: Decimal = Decimal("0.000001")) -> None:
    differing: dict[str, tuple[Decimal, Decimal]] = defaultdict(tuple)
    for key in found.keys() | wanted.keys():
        if abs(found.get(key, Decimal(0)) - wanted.get(key, Decimal(0))) > within:
            differing[key] = (found.get(key), wanted.get(key))
    assert not differing


def test_the_dispute_of_september_was_rejected_and_changed_no_total(rows) -> None:
    assert rows("select dispute_id, period, team_id, amount, opened_by, state, resolved_by from disputes") == [
        ("D-1", "2026-09", "search", Decimal("48.50"), "search lead", "rejected", "finance")
    ]
    totals = rows("select period, version, sum(total_amount) from statements group by all order by all")
    assert totals == [("2026-09", 1, Decimal("80433.52")), ("2026-10", 0, Decimal("87973.61"))]

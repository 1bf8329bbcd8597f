"""One night over what logs and bills should not say, and do: nothing becomes a silent zero or an invented price, and nothing stops the night."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from decimal import Decimal
from typing import Any

import duckdb
import pytest

from pipelines import jobs
from pipelines.home import Home
from tests.conftest import empty_home, quiet

SOURCES = """
version: 1
gateways:
  - name: proxy
    format: mapped
    file: csv
    accounts: {openai: org-1, anthropic: org-2}
    fields: {event_id: id, occurred_at: at, provider: provider, model: model, region: region, service_tier: tier, operation: {value: chat}, input_tokens: input, output_tokens: output}
billing:
  - {name: openai, format: mapped_bill, provider: openai, legal_entity: MAIN, fields: &fields {billing_account_id: account, day: day, cost: cost, currency: {value: USD},
     charge_category: category, service: service, sku_meter: meter, model_as_logged: model, quantity: quantity, unit: unit}}
  - {name: google, format: mapped_bill, provider: google, legal_entity: MAIN, fields: *fields}
"""
CONTRACTS = """
version: 1
private_prices:
  - {id: tiny, provider: openai, model: house-model, meter: input_uncached, per_million: "0.000001"}
"""
CALLS = """\
id,at,provider,model,region,tier,input,output
unknown-model,2026-09-02T10:00:00Z,openai,never-heard,,,1000,10
unknown-tier,2026-09-02T10:00:00Z,openai,gpt-5,,warp,1000,10
unknown-region,2026-09-02T10:00:00Z,openai,gpt-5,moon-1,,1000,10
input-only,2026-09-02T10:00:00Z,openai,text-embedding-3-small,,,1000,10
tiny,2026-09-02T10:00:00Z,openai,house-model,,,7,0
too-much,2026-09-02T10:00:00Z,anthropic,claude-sonnet-4-5,,,1000000000000,10
beyond-counting,2026-09-02T10:00:00Z,anthropic,claude-sonnet-4-5,,,1000000000000000,10
negative,2026-09-02T10:00:00Z,openai,gpt-5,,,-5,10
millions,2026-09-03T10:00:00Z,openai,o1-pro,,,1000000,0
thousands,2026-09-03T10:00:00Z,openai,gpt-5-mini,,,4000000,0
thousands-next,2026-09-06T10:00:00Z,openai,gpt-5-mini,,,4000000,0
taken-back,2026-09-04T10:00:00Z,openai,gpt-5-nano,,,1000000,0
"""
HEADER = "account,day,cost,category,service,meter,model,quantity,unit\n"
BILL = """\
org-1,2026-09-02,0.00135,Usage,OpenAI API,,,,
org-1,2026-09-03,150,Usage,OpenAI API,input_uncached,o1-pro,1,Tokens
org-1,2026-09-03,1,Usage,OpenAI API,input_uncached,gpt-5-mini,4000,Tokens
org-1,2026-09-04,5,Usage,OpenAI API,input_uncached,gpt-5-nano,0,Tokens
org-1,2026-09-04,-0.5,Usage,OpenAI API,input_uncached,gpt-5-nano,-1000,Tokens
org-1,2026-09-04,-900,Credit,Credits,,,,
"""
BYTES = "gcp,2026-09-02,12.5,Usage,Cloud Storage,Standard Storage,,86400000000000000,byte-seconds\n"


@pytest.fixture(scope="module")
def night(tmp_path_factory: pytest.TempPathFactory) -> tuple[Home, jobs.Outcome]:
    home = empty_home(tmp_path_factory.mktemp("odd"), SOURCES)
    (home.policy / "contracts.yaml").write_text(CONTRACTS)
    trillions = "org-9,2026-09-02,20000000000000,Usage,OpenAI API,input_uncached,gpt-5,1000,Tokens\n"
    for name, text in {
        "gateway/proxy/calls.csv": CALLS, "billing/openai/bill.csv": HEADER + BILL, "billing/openai/trillions.csv": HEADER + trillions, "billing/google/bill.csv": HEADER + BYTES,
    }.items():  # fmt: skip
        path = home.landing / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return home, jobs.nightly(home, date(2026, 9, 7), quiet)


Ask = Callable[[str], list[tuple[Any, ...]]]


@pytest.fixture(scope="module")
def ask(night: tuple[Home, jobs.Outcome]) -> Ask:
    def rows(sql: str) -> list[tuple[Any, ...]]:
        with duckdb.connect(str(night[0].current), read_only=True) as con:
            return con.execute(sql).fetchall()

    return rows


def test_every_call_has_a_price_or_says_what_is_missing(ask: Ask) -> None:
    found = {row[0]: row[1:] for row in ask("select event_id, rate_source, unpriced_because, contracted_cost from usage_events")}
    standard = ("list", None, Decimal("0.00135"))
    assert found.pop("unknown-tier") == found.pop("unknown-region") == standard  # the standard price, recorded as such by its rate
    assert found.pop("tiny") == ("contract", None, Decimal("0.000000000007"))
    assert found.pop("unknown-model") == ("unpriced", "no price of the model", None)
    assert found.pop("input-only") == ("unpriced", "no price of output tokens", None)
    assert found.pop("too-much") == ("unpriced", "a million dollars or more in one row of the log", None)
    assert {name: cost for name, (_, _, cost) in found.items()} == {"millions": 150, "thousands": 1, "thousands-next": 1, "taken-back": Decimal("0.05")}
    assert {row[0] for row in ask("select what from exceptions where kind = 'unpriced'")} == {"openai never-heard", "openai text-embedding-3-small", "anthropic claude-sonnet-4-5"}
    assert ask("select reason from quarantine order by 1") == [("absurd_tokens",), ("negative_tokens",)]


def test_a_bill_in_another_unit_makes_no_price(ask: Ask) -> None:
    """It counts thousands and millions and calls them tokens: suspected, charged as billed, and the days it does not have yet stay at the list price."""
    assert ask("select model, sum(effective_cost) from charges where origin = 'accrual' group by all") == [("gpt-5-mini", 1)]
    said = ask("select what, amount, detail from exceptions where kind = 'unit_suspect' order by 1")
    assert said == [
        ("openai gpt-5-mini input_uncached", 1, "the bill has 1/1000 of what was metered on 2026-09-03"),
        ("openai o1-pro input_uncached", 150, "the bill has 1/1000000 of what was metered on 2026-09-03"),
    ]


def test_what_is_billed_is_carried_whatever_it_counts(ask: Ask) -> None:
    """Cost without a quantity, less than nothing of it, no model, a credit that is larger than the charges, and bytes by the second."""
    assert ask("select sum(l.billed_cost), sum(l.effective_cost) from ledger l join charges c using (charge_id) where origin = 'bill'") == [(Decimal("-731.99865"),) * 2]
    states = ask("select model, meter, state, billed_cost from reconciliation where usage_date in ('2026-09-02', '2026-09-04') and billed_cost is not null order by billed_cost")
    assert states == [
        (None, "credit", "non_usage", -900), (None, "other", "non_usage", Decimal("0.00135")),
        ("gpt-5-nano", "input_uncached", "variance_quantity", Decimal("4.5")), (None, "other", "non_usage", Decimal("12.5")),
    ]  # fmt: skip
    assert ask("select consumed_quantity, consumed_unit from charges where provider = 'google'") == [(86_400_000_000_000_000, "byte-seconds")]


def test_an_amount_that_no_bill_has_refuses_the_bill_and_not_the_night(night: tuple[Home, jobs.Outcome]) -> None:
    (refused,) = night[1].refused
    assert "trillions.csv record 1: a cost of ten trillion or a quantity of ten quintillion, or more" in str(refused)

"""What a new project would cost: exact arithmetic, the right price for each thing, and rates proposed from what things cost."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pytest
from typer.testing import CliRunner

from pipelines import policy, rate_proposal, sample
from pipelines.cli import app
from pipelines.errors import Refused
from pipelines.estimate import estimate, project_of, text
from pipelines.home import Home
from pipelines.yaml_file import PolicyRefused

DAY = date(2026, 10, 31)
CARD = """
version: 1
id: card-1
gpu_equivalents: {A100: 1, H100: "2.5", A30: "0.5"}
lines:
  - {id: gpt, service: GPT for all, covers: {provider: openai, model: gpt-5}, meter: tokens, unit: 1M tokens, rate: "3.30",
     teams: [{team: docs, rate: "3", from: 2026-10-01, to: 2026-11-01}]}
  - {id: llama-in, service: Llama, covers: {serving_pool: llama-pool}, meter: input, unit: 1K tokens, rate: "0.0006"}
  - {id: llama-out, service: Llama, covers: {serving_pool: llama-pool}, meter: output, unit: 1M tokens, rate: "2.40", to: 2026-11-01}
  - {id: llama-out-2, service: Llama, covers: {serving_pool: llama-pool}, meter: output, unit: 1M tokens, rate: "4", from: 2026-11-01}
  - {id: hours, service: GPU time, covers: {cluster: batch}, meter: gpu_hours, unit: equivalent GPU-hour, rate: "3"}
  - {id: searches, service: Search, covers: {vector_index: catalog}, meter: queries, unit: 1K queries, rate: "0.05"}
  - {id: storage, service: Storage, covers: {vector_indexes: all}, meter: gb_months, unit: GB-month, rate: "0.40"}
"""


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """The sample company's policy with a card that sells one of everything; nothing is published."""
    sample.install(tmp_path)
    (tmp_path / "data" / "policy" / "rate_card.yaml").write_text(CARD)
    return Home(tmp_path)


@pytest.fixture
def asked(home: Home) -> Callable[..., dict[str, Any]]:
    def ask(team: str | None = None, day: date = DAY, **use: Any) -> dict[str, Any]:
        return estimate(home, project_of({"team": team, **use}), day)

    return ask


def model(name: str, **use: Any) -> dict[str, Any]:
    return {"models": [{"model": name, **({"interactions": "100000..300000"} | use)}]}


def one(found: dict[str, Any]) -> tuple[str, str, dict[str, Decimal]]:
    (line,) = found["lines"]
    return line["rate"], line["price"], line["amount"]


def test_users_times_interactions_times_tokens_times_rate(asked: Callable[..., dict[str, Any]]) -> None:
    use = {
        "users": {"low": 100, "base": 150, "high": 250},
        "interactions": 8,
        "days": 20,
        "input_tokens": 2000,
        "cached_percent": "10..25..30",
        "output_tokens": 500,
    }
    found = asked(**model("llama-3.3-70b", **use), months=2, growth_percent="0..10..20")
    calls = [Decimal(users * 8 * 20) for users in (100, 150, 250)]
    fresh = [n * 2000 * kept / 100 * Decimal("0.6") / 1_000_000 for n, kept in zip(calls, (70, 75, 90), strict=True)]  # low caches most
    cached = [
        n * 2000 * kept / 100 * Decimal("0.6") / 1_000_000 for n, kept in zip(calls, (30, 25, 10), strict=True)
    ]  # by the line for all input
    out = [n * 500 * Decimal("2.4") / 1_000_000 for n in calls]
    cents = [[amount.quantize(Decimal("0.01")) for amount in line] for line in (fresh, cached, out)]
    assert [list(line["amount"].values()) for line in found["lines"]] == cents
    assert [line["meter"] for line in found["lines"]] == ["uncached input", "cached input", "output"]
    first, second = ([month[side] for side in ("low", "base", "high")] for month in found["by_month"])
    assert first == [sum(line) for line in zip(*cents, strict=True)]
    grown = [
        sum((line[side] * factor).quantize(Decimal("0.01")) for line in (fresh, cached, out))
        for side, factor in enumerate((Decimal(1), Decimal("1.1"), Decimal("1.2")))
    ]
    assert second == grown
    assert [found["total"][0][side] for side in ("low", "base", "high")] == [a + b for a, b in zip(first, second, strict=True)]
    assert found["spread_percent"] is None


def test_use_without_any_range_becomes_one(asked: Callable[..., dict[str, Any]]) -> None:
    found = asked(**model("Llama", interactions=1000, output_tokens=1000), spread_percent=10)
    assert one(found)[2] == {"low": Decimal("64.80"), "base": Decimal("72.00"), "high": Decimal("79.20")}
    assert "taken as 10% less to 10% more" in text(found)


@pytest.mark.parametrize(
    ("use", "team", "day", "rate", "price"),
    [
        (model("gpt-5", output_tokens=1), None, DAY, "3.3", "rate card card-1, line gpt"),
        (model("gpt-5", output_tokens=1), "docs", DAY, "3", "rate card card-1, line gpt, rate of docs"),
        (model("gpt-5", output_tokens=1), "docs", date(2026, 11, 1), "3.3", "rate card card-1, line gpt"),
        (model("GPT for all", input_tokens=1), None, DAY, "3.3", "rate card card-1, line gpt"),
        (model("llama-pool", output_tokens=1), None, date(2026, 11, 1), "4", "rate card card-1, line llama-out-2"),
        (model("gpt-5-mini", output_tokens=1), None, DAY, "1.8", "contract openai-mini-2026: no rate covers it"),
        (model("gpt-5-mini", output_tokens=1), None, date(2026, 9, 30), "2", "list price of openai, snapshot of "),
        (
            model("gpt-5", provider="azure", output_tokens=1),
            None,
            DAY,
            "10",
            "list price of openai, snapshot of ",
        ),  # which stands in for azure's
        (model("gpt-5-mini", provider="azure", output_tokens=1), None, DAY, "2", "list price of openai, snapshot of "),  # the contract is OpenAI's
        (model("amazon.nova-pro-v1:0", output_tokens=1), None, DAY, "2.96", "contract aws-edp-2026: no rate covers it"),  # 3.20 less 7.5%
        ({"gpus": [{"cluster": "batch", "hours": "1..2"}]}, None, DAY, "3", "rate card card-1, line hours"),
        (
            {"gpus": [{"cluster": "notebooks", "hours": "1..2"}]},
            None,
            DAY,
            "0.575",
            "declared rate of contracts.yaml",
        ),  # 14 h at 0.70, 10 h at 0.40
        ({"indexes": [{"vector_index": "catalog", "queries": "1..2"}]}, None, DAY, "0.05", "rate card card-1, line searches"),
        ({"indexes": [{"gb": "1..2"}]}, None, DAY, "0.4", "rate card card-1, line storage"),
    ],
)
def test_each_thing_has_the_price_of_its_day(
    asked: Callable[..., dict[str, Any]], use: dict[str, Any], team: str | None, day: date, rate: str, price: str
) -> None:
    found = one(asked(team, day, **use))
    assert found[0] == rate and found[1].startswith(price)


def test_hours_of_other_cards_count_as_their_equivalent(asked: Callable[..., dict[str, Any]]) -> None:
    found = asked(gpus=[{"cluster": "GPU time", "gpu_model": "H100", "hours": "10..20..40"}])
    assert one(found)[2] == {"low": Decimal(75), "base": Decimal(150), "high": Decimal(300)}
    assert found["lines"][0]["quantity"] == {"low": "25", "base": "50", "high": "100"}


@pytest.mark.parametrize(
    ("use", "said"),
    [
        (model("gpt-5o"), "unknown model gpt-5o; near: gpt-5"),
        (model("gpt-5", provider="opnai"), "unknown model opnai gpt-5"),
        (model("gpt-5", interactions="9..1"), "low, base and high are in this order"),
        (model("gpt-5", interactions="many"), "interactions"),
        (model("gpt-5", interactions=1, cached_percent=101), "--cached-percent"),
        ({"gpus": [{"cluster": "btch", "hours": 1}]}, "unknown cluster btch; near: batch"),
        ({"gpus": [{"cluster": "batch", "gpu_model": "H10", "hours": 1}]}, "unknown GPU H10; near: H100"),
        ({"gpus": [{"cluster": "serving", "hours": 1}]}, "no one rate for GPUs of serving"),
        ({"indexes": [{"vector_index": "catalogue", "queries": 1}]}, "unknown vector index catalogue; near: catalog"),
        ({"indexes": [{"vector_index": "contracts", "queries": 1}]}, "searches of contracts has no rate and no cost yet"),
        ({"team": "doc", **model("gpt-5")}, "unknown team doc; near: docs"),
        ({}, "name at least one model"),
    ],
)
def test_what_cannot_be_estimated_is_refused(asked: Callable[..., dict[str, Any]], use: dict[str, Any], said: str) -> None:
    with pytest.raises(Refused) as caught:
        asked(**use)
    assert said in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("use", "said"),
    [
        ({"models": [{"model": "gpt-5", "users": "10"}]}, "--interactions is missing"),
        ({"models": [{"model": "gpt-5", "users": "some", "interactions": "1", "input_tokens": "5"}]}, "--users: "),
        ({"gpus": [{"cluster": "batch"}]}, "--gpu-hours is missing"),
        ({}, "options: name at least one model"),
    ],
)
def test_a_wrong_option_is_named_as_it_is_typed(use: dict[str, Any], said: str) -> None:
    with pytest.raises(Refused) as refused:
        project_of(use)
    assert said in str(refused.value) and "see apportion estimate --help" in str(refused.value)


def test_a_project_file_is_refused_with_its_line(home: Home, tmp_path: Path) -> None:
    path = tmp_path / "project.yaml"
    path.write_text("version: 1\nmodels:\n  - model: gpt-5\n    interactions: 5\n    tokens: 7\n")
    with pytest.raises(PolicyRefused, match=r"project\.yaml:5: unknown key models\.0\.tokens"):
        estimate(home, path, DAY)


def test_the_command_prints_a_table_or_json(home: Home, tmp_path: Path) -> None:
    path = tmp_path / "project.yaml"
    path.write_text('version: 1\nname: Copilot\nmodels: [{model: gpt-5, interactions: 1000, days: 10, output_tokens: "100..300"}]\n')
    run = CliRunner().invoke(app, ["estimate", "--file", str(path), "--home", str(home.root), "--json"])
    assert run.exit_code == 0, run.output
    assert json.loads(run.stdout)["total"] == [{"currency": "USD", "low": "3.30", "base": "6.60", "high": "9.90"}]
    options = ["--model", "gpt-5", "--interactions", "1000", "--days", "10", "--output-tokens", "100..300"]
    shown = CliRunner().invoke(app, ["estimate", *options, "--home", str(home.root)]).stdout
    assert "3.3 per 1M tokens; rate card card-1, line gpt" in shown and "a month" in shown and "9.90 USD" in shown
    assert CliRunner().invoke(app, ["estimate", "--users", "5", "--home", str(home.root)]).exit_code == 2
    assert CliRunner().invoke(app, ["estimate", *options, "--file", str(path), "--home", str(home.root)]).exit_code == 2
    assert CliRunner().invoke(app, ["policy", "prices", "--home", str(home.root)]).exit_code == 2


# From what things cost ------------------------------------------------------------------------------------------------


@pytest.fixture
def with_costs(home: Home) -> Home:
    """September is whole, October has three days; a pool, two clusters and an index cost something."""
    home.published.mkdir(parents=True)
    file = home.published / "apportion-2026-10-03-x.duckdb"
    with duckdb.connect(str(file)) as con:
        con.execute(
            "create table periods as select * from (values ('2026-09', date '2026-09-01', date '2026-10-01'), ('2026-10', date '2026-10-01', date '2026-11-01')) t(period, starts_on, ends_on)"
        )
        con.execute(
            """
            create table charges as select * from (values
                ('2026-09', date '2026-09-30', 'query', 'bill', 'contracts', 4.5::decimal(38, 12), 900::decimal(38, 12), 'Read Units', 'USD'),
                ('2026-09', date '2026-09-30', 'query', 'bill', 'catalog', 90, 1, 'Read Units', 'USD'),
                ('2026-09', date '2026-09-30', 'query', 'tariff', 'contracts', 1000, 1, 'Queries', 'USD'),
                ('2026-10', date '2026-10-03', 'query', 'bill', 'contracts', 77, 1, 'Read Units', 'USD'))
                t(period, usage_date, activity, origin, vector_index_id, effective_cost, consumed_quantity, consumed_unit, billing_currency)
            """
        )
        con.execute(
            "create table usage_daily as select date '2026-09-05' as usage_date, 'vector_query' as operation, 'contracts' as vector_index_id, 3000::bigint as queries"
        )
        con.execute(
            """
            create table blended_rates as select * from (values
                ('2026-09', 'llama-pool', 'all', null::date, 1::decimal(38, 12), 2::decimal(38, 12)),
                ('2026-09', 'llama-pool', 'output', date '2026-01-01', 9, 9), ('2026-09', 'llama-pool', 'output', date '2026-09-15', 2.1234564, 3.1234565),
                ('2026-09', 'llama-pool', 'input_uncached', date '2026-01-01', 0.5, 0.75), ('2026-10', 'llama-pool', 'output', null, 50, 60))
                t(period, serving_pool, meter, weight_from, usage_rate_per_million, full_rate_per_million)
            """
        )
        con.execute(
            """
            create table gpu_costs as select * from (values
                ('2026-09', 'batch', 'used', 30::decimal(38, 6), 60::decimal(38, 12)), ('2026-09', 'batch', 'idle_unallocated', 70, 140),
                ('2026-09', 'serving', 'used', 10, 100))
                t(period, cluster, use, gpu_hours, effective_cost)
            """
        )
    home.current.symlink_to(file.name)
    file.with_suffix(".manifest.json").write_text(json.dumps({"through": "2026-10-03", "state": "", "reports": [], "totals": []}))
    return home


def test_rates_are_proposed_from_the_last_whole_month_and_can_be_pasted(with_costs: Home) -> None:
    card = with_costs.policy / "rate_card.yaml"
    proposed = rate_proposal.text(with_costs)
    assert card.read_text() == CARD
    assert 'rate: "3.123457"  # 2.123456 without what stood idle' in proposed
    assert 'rate: "6.666667"  # 2.000000 without what stood idle' in proposed  # 200 over 30 held hours, 60 over 30
    assert (
        "to: 2026-10-01`, or take another day: llama-in, llama-out, llama-out-2, hours" in proposed and "serving-gpu-hours" not in proposed
    )
    card.write_text("version: 1\nlines:\n" + proposed)
    lines = policy.load(with_costs.policy).rate_card.lines
    assert [(line.covers.what, line.meter, str(line.rate)) for line in lines] == [
        ("llama-pool", "input_uncached", "0.750000"), ("llama-pool", "output", "3.123457"), ("batch", "gpu_hours", "6.666667"),
    ]  # fmt: skip
    assert {line.start for line in lines} == {date(2026, 10, 1)} and lines[0].service == "Llama"


def test_what_no_rate_covers_is_estimated_at_the_cost_of_the_last_month(with_costs: Home) -> None:
    def of(**use: Any) -> tuple[str, str, dict[str, Decimal]]:
        return one(estimate(with_costs, project_of(use), DAY))

    searches = of(indexes=[{"vector_index": "contracts", "queries": "1000..3000"}])
    assert searches == (
        "1.5",
        "cost of 2026-09: no rate covers it",
        {"low": Decimal("1.50"), "base": Decimal("3.00"), "high": Decimal("4.50")},
    )
    assert of(gpus=[{"cluster": "serving", "hours": "1..2"}])[:2] == ("10", "cost of 2026-09, idle GPUs included: no rate covers it")
    (with_costs.policy / "rate_card.yaml").write_text("version: 1\n")
    assert of(**model("llama-3.3-70b", output_tokens=10))[:2] == ("3.123457", "cost of 2026-09, idle GPUs included: no rate covers it")
    with pytest.raises(Refused, match="cached input of llama-pool has no rate and no cost yet"):
        of(**model("llama-3.3-70b", input_tokens=10, cached_percent=100))

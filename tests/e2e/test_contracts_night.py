"""What contracts say, through a whole night: provisioned units, credit bought ahead, a minimum and fees, to the teams that pay."""

from __future__ import annotations

import shutil
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pytest

from pipelines import jobs
from pipelines.errors import Refused
from pipelines.home import Home
from tests.conftest import empty_home, quiet

SOURCES = """
version: 1
gateways:
  - name: proxy
    format: mapped
    file: csv
    accounts: {azure: sub-1, openai: org-1}
    fields: {event_id: id, occurred_at: at, gateway_team: team, provider: provider, model: model, operation: {value: chat}, input_tokens: input, output_tokens: output}
billing:
  - {name: azure, format: mapped_bill, provider: azure, legal_entity: MAIN, fields: &fields {billing_account_id: account, day: day, cost: cost, currency: {value: USD},
     charge_category: category, service: service, sku_meter: meter, model_as_logged: model, quantity: quantity, unit: unit, charge_description: text}}
  - {name: openai, format: mapped_bill, provider: openai, legal_entity: MAIN, fields: *fields}
fx:
  - {name: treasury, format: fx_csv}
"""
CONTRACTS = """
version: 1
throughput:
  - {id: ptu, provider: azure, lines: {sku_meter: "Provisioned*"}, covers: {models: gpt-4o}, tokens_per_unit_hour: 1000, output_weight: 4}
prepaid:
  - {id: credits, provider: openai, lines: {charge_description: Credits bought}, drawn: {charge_description: Credits used}, from: 2026-09-01, to: 2026-09-05}
minimums:
  - {id: plan, provider: openai, lines: {charge_description: Plan minimum}, amount: "3000", from: 2026-09-01}
fees:
  - {id: desk, provider: azure, lines: {charge_description: Desk fee}, amount: "60", from: 2026-09-01}
"""
TEAMS = """
version: 1
teams:
  - {id: platform, name: Platform, cost_center: CC-1000, mode: showback}
  - {id: a, name: A, cost_center: CC-1000, mode: showback, belongs: [{gateway_team: a}]}
  - {id: b, name: B, cost_center: CC-1000, mode: showback, belongs: [{gateway_team: b}]}
"""
FILES = {
    "gateway/proxy/calls.csv": """\
id,at,team,provider,model,input,output
1,2026-09-02T10:00:00Z,a,azure,gpt-4o,4000,0
2,2026-09-02T10:00:00Z,b,azure,gpt-4o,0,2000
3,2026-09-02T10:00:00Z,a,openai,gpt-4o,4000000,0
""",
    "billing/azure/bill.csv": """\
account,day,cost,category,service,meter,model,quantity,unit,text
sub-1,2026-09-02,48,Usage,Azure OpenAI,Provisioned Managed Global Unit,,48,Hours,
""",
    "billing/openai/bill.csv": """\
account,day,cost,category,service,meter,model,quantity,unit,text
org-1,2026-09-01,100,Purchase,Credits,,,,,Credits bought
org-1,2026-09-02,10,Usage,OpenAI API,input_uncached,gpt-4o,4000000,Tokens,
org-1,2026-09-02,-10,Credit,Credits,,,,,Credits used
org-1,2026-09-05,0,Usage,OpenAI API,output,gpt-4o,0,Tokens,
""",
}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    root = tmp_path_factory.mktemp("contracts")
    found = empty_home(root, SOURCES)
    for name, text in (("contracts", CONTRACTS), ("teams", TEAMS)):
        (root / "data" / "policy" / f"{name}.yaml").write_text(text)
    for name, text in FILES.items():
        path = found.landing / Path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    jobs.nightly(found, date(2026, 9, 6), quiet)
    return found


def rows(home: Home, sql: str) -> list[tuple[Any, ...]]:
    with duckdb.connect(str(home.current), read_only=True) as con:
        return con.execute(sql).fetchall()


def test_each_contract_costs_what_it_says(home: Home) -> None:
    """Six of thirty days of the fee; of the minimum what they ask for, less what was used."""
    found = rows(home, "select contract_id, billed_cost, effective_cost, used_cost, unused_cost from contract_costs order by 1")
    assert found == [
        ("credits", Decimal(90), Decimal(90), None, Decimal(90)),
        ("desk", Decimal(0), Decimal(12), None, Decimal(0)),
        ("plan", Decimal(0), Decimal(590), None, Decimal(0)),
        ("ptu", Decimal(48), Decimal(48), Decimal(12), Decimal(36)),
    ]


def test_what_was_bought_ahead_says_how_much_of_it_was_used_and_how_much_it_covered(home: Home) -> None:
    """Provisioned units took 6,000 tokens that would have cost three cents; the credit paid for all ten of its vendor's use, and lost the rest."""
    found = rows(home, "select contract_id, committed_cost, used_cost, unused_cost, utilization_percent, eligible_cost, covered_cost, coverage_percent from commitment_use order by 1")
    assert found == [
        ("credits", 100, 10, 90, 10, 10, 10, 100),
        ("ptu", 48, 12, 36, 25, Decimal("0.03"), Decimal("0.03"), 100),
    ]  # fmt: skip
    levers = rows(home, "select subject, current_cost, alternative_cost from levers where kind = 'unused_commitment' order by 1")
    assert levers == [("credits", 90, 0), ("ptu", 48, 12)]


def test_provisioned_units_go_to_teams_by_weighted_tokens(home: Home) -> None:
    """C24: litellm PR 37556: their calls were charged by the token beside the units."""
    billed = rows(home, "select origin, sum(effective_cost) from charges where provider = 'azure' and usage_date = '2026-09-02' and contract_id is distinct from 'desk' group by all")
    assert billed == [("bill", Decimal(48))]
    assert rows(home, "select distinct state from reconciliation where provider = 'azure' and model = 'gpt-4o'") == [("covered",)]
    found = rows(home, "select l.team_id, l.portion, sum(l.effective_cost) from ledger l join charges c using (charge_id) where c.provider = 'azure' and c.sku_meter like 'Provisioned%' and l.portion = 'metered' group by all order by 1")
    assert found == [("a", "metered", Decimal(4)), ("b", "metered", Decimal(8))]


def test_everything_that_is_billed_or_promised_has_an_owner(home: Home) -> None:
    """48 of units, 10 of use, 90 of credit that is left, 590 of the minimum and 12 of the fee."""
    assert rows(home, "select sum(billed_cost) from ledger") == rows(home, "select sum(billed_cost) from bill_lines")
    assert rows(home, "select sum(effective_cost), sum(chargeback_cost) from ledger") == [(Decimal(750),) * 2]


def test_a_minimum_in_another_currency_needs_a_rate_and_follows_it(home: Home, tmp_path: Path) -> None:
    """Of 3,000 euros a month 600 are asked for so far: 10 dollars of use are 8 euros at the first rate and 5 at the one that replaces it."""
    copy = Home(Path(shutil.copytree(home.root, tmp_path / "copy", symlinks=True)))
    path = copy.policy / "contracts.yaml"
    path.write_text(path.read_text().replace('amount: "3000"', 'amount: "3000", currency: EUR'))
    with pytest.raises(Refused, match="no exchange rate from EUR to USD for 2026-09"):
        jobs.nightly(copy, date(2026, 9, 6), quiet)
    folder = copy.landing / "fx" / "treasury"
    folder.mkdir(parents=True)
    for rate, shortfall in (("1.25", 592), ("2", 595)):
        (folder / f"{rate}.csv").write_text(f"period,currency,rate,rate_source\n2026-09,EUR,{rate},treasury\n")
        jobs.nightly(copy, date(2026, 9, 6), quiet)
        assert rows(copy, "select billing_currency, effective_cost from contract_costs where contract_id = 'plan'") == [("EUR", Decimal(shortfall))]

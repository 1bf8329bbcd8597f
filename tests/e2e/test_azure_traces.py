"""The nightly job on real traffic: two public traces of Azure OpenAI use, mapped as two teams."""

from __future__ import annotations

import csv
import shutil
from datetime import date
from decimal import Decimal
from pathlib import Path

import duckdb
import pytest

from pipelines import jobs
from pipelines.home import CHECKOUT, Home, asset
from tests.conftest import quiet

TRACES = CHECKOUT.parent / "shared" / "samples" / "traces" / "azure_llm"
TEAMS = {"code": "AzureLLMInferenceTrace_code.csv", "conv": "AzureLLMInferenceTrace_conv.csv"}
INPUT, OUTPUT = Decimal("0.00003"), Decimal("0.00006")  # USD per token of gpt-4, list price

COMPANY = """
version: 1
name: Traces
currency: USD
legal_entities: [{id: TRACES, name: Traces, country: US}]
cost_centers: [{id: CC-1, name: Everything, legal_entity: TRACES}]
calendar: {first_period: 2023-11}
platform_team: code
"""
TEAM = "  - {{id: {team}, name: Team {team}, cost_center: CC-1, mode: showback, belongs: [{{gateway_team: team-{team}}}]}}\n"
SOURCE = """  - name: azure-{team}
    format: mapped
    file: csv
    tokens: inclusive
    fields:
      occurred_at: TIMESTAMP
      gateway_team: {{value: team-{team}}}
      provider: {{value: openai}}
      model: {{value: gpt-4}}
      operation: {{value: chat}}
      status: {{value: success}}
      input_tokens: ContextTokens
      output_tokens: GeneratedTokens
"""
ALLOCATION = """
version: 1
pools: {rest: "true"}
rules:
  - id: own-tokens
    pool: rest
    by: [charge_id]
    method: proportional
    driver: metered_cost
    fallback: [{to: unallocated}]
"""


@pytest.mark.skipif(not TRACES.is_dir(), reason="the Azure LLM inference traces are not beside this checkout")
def test_real_traffic_through_the_generic_source(tmp_path: Path) -> None:
    home = Home(tmp_path)
    home.policy.mkdir(parents=True)
    (home.policy / "company.yaml").write_text(COMPANY)
    (home.policy / "teams.yaml").write_text("version: 1\nteams:\n" + "".join(TEAM.format(team=team) for team in TEAMS))
    (home.policy / "sources.yaml").write_text("version: 1\ngateways:\n" + "".join(SOURCE.format(team=team) for team in TEAMS))
    (home.policy / "allocation.yaml").write_text(ALLOCATION)
    shutil.copytree(asset("data", "list_prices"), home.list_prices)
    wanted: dict[str, tuple[int, int, int]] = {}
    for team, name in TEAMS.items():
        folder = home.landing / "gateway" / f"azure-{team}"
        folder.mkdir(parents=True)
        shutil.copy(TRACES / name, folder / name)
        with open(TRACES / name, newline="") as file:
            records = [(int(r["ContextTokens"]), int(r["GeneratedTokens"])) for r in csv.DictReader(file)]
        wanted[team] = (len(records), sum(i for i, _ in records), sum(o for _, o in records))

    assert jobs.nightly(home, date(2023, 11, 30), quiet).refused == []

    with duckdb.connect(str(home.current), read_only=True) as con:
        used = con.execute(
            "select team_id, count(*), sum(input_uncached_tokens)::bigint, sum(output_tokens)::bigint from usage_events group by all"
        ).fetchall()
        cost = dict(con.execute("select team_id, sum(chargeback_cost) from ledger group by all").fetchall())
        billed = dict(con.execute("select team_id, sum(total_amount) from statements group by all").fetchall())
    assert {row[0]: row[1:] for row in used} == wanted
    exact = {team: i * INPUT + o * OUTPUT for team, (_, i, o) in wanted.items()}
    assert cost == exact
    assert all(abs(billed[team] - exact[team]) <= Decimal("0.01") for team in TEAMS)
    assert len(list((home.reports / "2023-11").rglob("*.xlsx"))) == 3

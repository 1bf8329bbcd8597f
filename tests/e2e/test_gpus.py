"""GPUs through whole nights: clusters without a bill, cards beyond the declared ones, model servers beside jobs on one cluster."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from pathlib import Path

import duckdb
import pytest

from pipelines import jobs, sample
from pipelines.home import Home
from tests.conftest import quiet

DAY = date(2026, 9, 1)
HEADER = "row_id,hour,seconds,node,card,model,slices,of,namespace,notebook,busy_seconds,user\n"


def home_of(root: Path, gpu_rows: list[str], contracts: str, sources: str, more: dict[str, str] | None = None) -> Home:
    """A home with the sample company's teams, one list of GPUs, and nothing else that costs anything."""
    sample.install(root)
    home = Home(root)
    (home.policy / "contracts.yaml").write_text(f"version: 1\n{contracts}")
    (home.policy / "rate_card.yaml").write_text("version: 1\n")
    (home.policy / "sources.yaml").write_text(f"version: 1\n{sources}")
    for name, text in {
        "gpu/cards/list.csv": HEADER + "\n".join(gpu_rows) + "\n", "drivers/finance/all.csv": DRIVERS, **(more or {}),
    }.items():
        path = home.landing / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    jobs.nightly(home, DAY, quiet)
    return home


DRIVERS = "driver,target,weight\nseats,search,1\nindex_vectors,search,1\nindex_subscribers,search,1\n"
CARDS = """
drivers:
  - {name: finance, format: drivers_csv}
gpu:
  - name: cards
    format: mapped_gpu
    file: csv
    cluster: mixed
    serving_namespaces: {llama: llama-pool}
    fields: {event_id: row_id, interval_start: hour, seconds: seconds, holder: notebook, namespace: namespace, node: node, gpu_uuid: card,
             gpu_model: model, gpus: {value: "1"}, slice_num: slices, slice_den: of, active_seconds: busy_seconds}
"""
GATEWAY = """
gateways:
  - name: proxy
    format: mapped
    file: csv
    serving: {own: llama-pool}
    fields: {event_id: id, occurred_at: at, gateway_team: team, provider: {value: own}, model: {value: llama-3.3-70b}, operation: {value: chat},
             input_tokens: input, output_tokens: output}
"""


def row(card: str, namespace: str, hour: int, model: str = "A30", busy: str = "") -> str:
    return f"{card}-{namespace}-{hour},2026-09-01T{hour:02d}:00:00Z,3600,n1,{card},{model},1,1,{namespace},{namespace}-pod,{busy},u"


def ledger(home: Home, sql: str) -> list[tuple]:
    with duckdb.connect(str(home.current), read_only=True) as con:
        return con.execute(sql).fetchall()


def test_cards_beyond_the_declared_ones_and_cards_nobody_bills_are_named(tmp_path: Path) -> None:
    rows = [row(f"g{n}", "nb-search", 8) for n in range(3)] + [row("x1", "nb-risk", 9, model="V100")]
    declared = 'gpu_capacity:\n  - {cluster: mixed, gpu_model: A30, gpus: 2, rate: "1", provider: dc, legal_entity: LKF-US}\n'
    home = home_of(tmp_path, rows, declared + '  - {cluster: mixed, gpu_model: H100, gpus: 1}\n', CARDS)
    found = ledger(home, "select kind, what, events from exceptions where kind like 'gpu%' order by all")
    assert found == [("gpu_beyond_capacity", "mixed A30", 1), ("gpu_without_cost", "mixed V100", 1)]
    assert ledger(home, "select sum(effective_cost) from ledger") == [(Decimal(48),)]


def test_a_model_server_and_jobs_on_one_cluster_share_it_by_what_they_hold(tmp_path: Path) -> None:
    """Two cards: a job on one, our model server on the other; the server's half goes to its callers by weighted tokens."""
    rows = [line for hour in range(24) for line in (row("g1", "nb-search", hour), row("g2", "llama", hour))]
    calls = "id,at,team,input,output\na,2026-09-01T10:00:00Z,team-docs,4000,1000\nb,2026-09-01T11:00:00Z,team-risk,0,1000\n"
    declared = 'gpu_capacity:\n  - {cluster: mixed, gpu_model: A30, gpus: 2, rate: "1", provider: dc, legal_entity: LKF-US}\n'
    home = home_of(tmp_path, rows, declared, GATEWAY + CARDS, {"gateway/proxy/calls.csv": calls})
    found = dict(ledger(home, "select team_id, sum(effective_cost) from ledger group by all having sum(effective_cost) <> 0"))
    assert found == {"search": 24, "docs": 16, "risk": 8}
    (pool,) = ledger(home, "select used_cost, idle_cost from blended_rates where meter = 'all'")
    assert pool == (24, 0)


def test_idle_that_a_job_and_a_model_server_held_on_one_charge_is_paid_by_each(tmp_path: Path) -> None:
    """Both cards are held all day and work a quarter of it: the job's idle is its team's, the server's its callers'."""
    rows = [line for hour in range(24) for line in (row("g1", "nb-search", hour, busy="900"), row("g2", "llama", hour, busy="900"))]
    calls = "id,at,team,input,output\na,2026-09-01T10:00:00Z,team-docs,4000,1000\nb,2026-09-01T11:00:00Z,team-risk,0,1000\n"
    declared = 'gpu_capacity:\n  - {cluster: mixed, gpu_model: A30, gpus: 2, rate: "1", provider: dc, legal_entity: LKF-US}\n'
    home = home_of(tmp_path, rows, declared, GATEWAY + CARDS, {"gateway/proxy/calls.csv": calls})
    idle = "select team_id, cost_pool, sum(effective_cost) from ledger where activity = 'gpu_idle' group by all having sum(effective_cost) <> 0 order by all"
    assert ledger(home, idle) == [("docs", "gpu_server_idle", 12), ("risk", "gpu_server_idle", 6), ("search", "gpu_reserved_idle", 18)]
    assert ledger(home, "select use, effective_cost from gpu_costs order by all") == [("idle_reserved", 36), ("used", 12)]


@pytest.mark.parametrize("covered", [True, False])
def test_the_rate_card_covers_the_servers_part_of_a_cluster_and_no_more(tmp_path: Path, covered: bool) -> None:
    rows = [line for hour in range(24) for line in (row("g1", "nb-search", hour), row("g2", "llama", hour))]
    calls = "id,at,team,input,output\na,2026-09-01T10:00:00Z,team-docs,1000000,0\n"
    declared = 'gpu_capacity:\n  - {cluster: mixed, gpu_model: A30, gpus: 2, rate: "1", provider: dc, legal_entity: LKF-US}\n'
    sample.install(tmp_path)
    home = home_of(tmp_path, rows, declared, GATEWAY + CARDS, {"gateway/proxy/calls.csv": calls})
    if covered:
        card = "version: 1\nlines: [{id: in, service: Llama, covers: {serving_pool: llama-pool}, meter: input_uncached, unit: 1M tokens, rate: '5'}]\n"
        (home.policy / "rate_card.yaml").write_text(card)
        jobs.nightly(home, DAY, quiet)
    charged = dict(ledger(home, "select team_id, sum(chargeback_cost) from ledger group by all having sum(chargeback_cost) <> 0"))
    assert charged == ({"search": 24, "docs": 5, "platform": 19} if covered else {"search": 24, "docs": 24})

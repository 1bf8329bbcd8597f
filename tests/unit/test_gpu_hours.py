"""What GPU hours were used for and what they cost: the SQL over random holders, against plain fractions."""

from __future__ import annotations

import random
from collections import defaultdict
from datetime import date, datetime, timedelta
from fractions import Fraction
from typing import Any

import duckdb
import pytest

from pipelines import models
from pipelines.home import asset
from pipelines.policy.tables import COLUMNS
from pipelines.sources import GPU_USAGE

START, END = date(2026, 10, 1), date(2026, 10, 4)
PARAMS = {"period": "2026-10", "period_start": START, "period_end": END, "as_of": date(2026, 10, 31)}
ALWAYS = "date '2020-01-01', date '2100-01-01'"
HOUR = timedelta(hours=1)


def worked(
    holders: list[dict[str, Any]], capacity: list[tuple[Any, ...]], rates: list[list[str]] | None = None
) -> duckdb.DuckDBPyConnection:
    """A warehouse after NORMALIZE and RECONCILE of these holders; `capacity`: (cluster, model, type, gpus); `rates`: 24 of each."""
    con = duckdb.connect()
    con.execute("attach ':memory:' as warehouse; use warehouse")
    con.execute(asset("sql", "macros.sql").read_text())
    for name, columns in COLUMNS.items():
        con.execute(f"create table policy_{name}({columns})")
    con.execute("insert into policy_company values ('Test', 'USD', 'platform')")
    con.execute("insert into policy_serving_namespaces values ('s', 'serving', 'llama')")
    for team in ("a", "b", "c"):
        con.execute(f"insert into policy_belongs values ('namespace', '{team}', 'team-{team}', null, null, null, null, null, 0, {ALWAYS})")
    for n, (cluster, model, kind, gpus) in enumerate(capacity):
        con.execute(f"insert into policy_gpu_capacity values (?, ?, ?, ?, ?, ?, 'dc', 'LE', {ALWAYS})", [n, cluster, model, kind, gpus, "1" if rates else None])
        if rates:
            con.executemany("insert into policy_gpu_rates values (?, ?, ?)", [(n, hour, rate) for hour, rate in enumerate(rates[n])])
    con.execute("create table event_losers(source varchar, event_id varchar, delivery_id varchar, source_file varchar, source_row bigint)")
    shape = {**GPU_USAGE, "source": "VARCHAR", "delivery_id": "VARCHAR", "source_file": "VARCHAR", "source_row": "BIGINT"}
    con.execute(f"create table landed_gpu({', '.join(f'{name} {kind}' for name, kind in shape.items())})")
    for row, holder in enumerate(holders):
        full = {
            "source": "s", "delivery_id": "d", "source_file": "f", "source_row": row, "event_id": str(row), "cluster": "k", "gpu_model": "X1",
            "holder_kind": "pod", "gpus": 1, "slice_num": 1, "slice_den": 1, **holder,
        }  # fmt: skip
        con.execute(f"insert into landed_gpu({', '.join(full)}) values ({', '.join('?' for _ in full)})", list(full.values()))
    normalize = {model.name: model for model in models.stage("normalize")}
    for name in ("gpu_hours", "gpu_usage", "gpu_hourly"):
        models.replace_period(con, normalize[name], PARAMS)
    return con


def used(con: duckdb.DuckDBPyConnection) -> dict[tuple[str, str], Fraction]:
    """(use, namespace's team or serving pool) -> GPU-hours"""
    found = con.execute("select use, coalesce(serving_pool, team_id), sum(gpu_seconds) from gpu_hourly group by all").fetchall()
    return {(use, who): Fraction(seconds) / 3600 for use, who, seconds in found}


def at(hour: float) -> datetime:
    return datetime(2026, 10, 1) + timedelta(seconds=round(hour * 3600))


def held(namespace: str, start: float, end: float, **more: Any) -> dict[str, Any]:
    seconds = round((end - start) * 3600)
    return {"namespace": namespace, "interval_start": at(start), "interval_end": at(end), "held_seconds": seconds, **more}


def test_a_card_shared_by_time_is_one_card() -> None:
    """Three pods on one card for an hour hold a third each, whatever each of them reports."""
    pods = [held(name, 0, 1, gpu_uuid="g1") for name in "abc"]
    con = worked(pods, [("k", "X1", None, 2)])
    found = used(con)
    assert [found["used", f"team-{name}"] for name in "abc"] == [pytest.approx(Fraction(1, 3), abs=1e-9)] * 3
    assert sum(hours for (use, _), hours in found.items() if use == "used") <= 1
    assert found["idle_unallocated", "unallocated"] == pytest.approx(2 * 72 - 1, abs=1e-8)


def test_slices_leave_the_rest_of_their_card_stranded() -> None:
    """3g and 3g of seven: six sevenths are held, one is left over; the free card beside it is unallocated."""
    pods = [held(name, 0, 2, gpu_uuid="g1", slice_num=3, slice_den=7) for name in "ab"]
    found = used(worked(pods, [("k", "X1", None, 2)]))
    assert found["used", "team-a"] == found["used", "team-b"] == pytest.approx(Fraction(6, 7), abs=1e-9)
    assert found["idle_stranded", "unallocated"] == pytest.approx(Fraction(2, 7), abs=1e-8)
    assert found["idle_unallocated", "unallocated"] == pytest.approx(2 * 72 - 2, abs=1e-8)


def test_a_held_card_that_does_nothing_is_reserved_idle_and_an_unmeasured_one_is_used() -> None:
    pods = [held("a", 0, 10, gpu_uuid="g1", active_seconds=9000), held("b", 0, 10, gpu_uuid="g2")]
    found = used(worked(pods, [("k", "X1", None, 2)]))
    assert (found["used", "team-a"], found["idle_reserved", "team-a"]) == (Fraction(5, 2), Fraction(15, 2))
    assert found["used", "team-b"] == 10 and ("idle_reserved", "team-b") not in found


def test_free_cards_count_where_the_source_says_so_and_no_capacity_is_declared() -> None:
    rows = [held("a", 0, 1, gpu_uuid="g1"), held("", 0, 3, gpu_uuid="g2", holder_kind="none")]
    assert used(worked(rows, [])) == {("used", "team-a"): 1, ("idle_unallocated", "unallocated"): 3}


def test_cards_are_told_apart_by_the_name_the_contract_gives_them() -> None:
    rows = [
        held("a", 0, 1, gpu_uuid="g1", gpu_model="NVIDIA A100-SXM4-80GB"), held("b", 0, 1, gpu_uuid="g2", gpu_model="nvidia h100 80gb"),
        held("c", 0, 1, gpu_uuid="g3", gpu_model="V100"),
    ]  # fmt: skip
    con = worked(rows, [("k", "A100", None, 1), ("k", "A100-SXM4-80GB", None, 4), ("k", "H100", None, 4)])
    found = dict(con.execute("select team_id, gpu_model from gpu_hourly where use = 'used'").fetchall())
    assert found == {"team-a": "A100-SXM4-80GB", "team-b": "H100", "team-c": "V100"}


def test_a_job_is_cut_at_hours_and_at_the_end_of_the_period() -> None:
    job = {"namespace": "a", "holder_kind": "job", "gpus": 4, "interval_start": at(-1.5), "interval_end": at(80)}
    con = worked([job], [])
    assert con.execute("select count(*), min(usage_hour), max(usage_hour), sum(gpu_seconds) from gpu_hourly").fetchall() == [
        (72, datetime(2026, 10, 1), datetime(2026, 10, 3, 23), 4 * 72 * 3600)
    ]


def charge_hours(con: duckdb.DuckDBPyConnection, charges: list[tuple[Any, ...]], lines: list[tuple[Any, ...]] = ()) -> dict[tuple[str, str, str], Fraction]:
    """(charge, use, team) -> its part of the charge's cost; charges: (id, origin, model, service tier, day), lines: (charge, cost, start, end)."""
    con.execute(
        "create table origin_charges(usage_period varchar, charge_id varchar, origin varchar, model varchar, service_tier varchar, usage_date date,"
        " cluster varchar, activity varchar, charge_category varchar, provider varchar)"
    )
    con.executemany("insert into origin_charges values ('2026-10', ?, ?, ?, ?, ?, 'k', 'training', 'Usage', 'dc')", charges)
    con.execute(
        "create table bill_lines(usage_period varchar, in_scope boolean, cluster varchar, usage_date date, charge_id varchar,"
        " effective_cost decimal(38, 12), charge_period_start timestamp, charge_period_end timestamp)"
    )
    if lines:
        con.executemany("insert into bill_lines values ('2026-10', true, 'k', ?, ?, ?, ?, ?)", [(START, *line) for line in lines])
    model = next(model for model in models.stage("reconcile") if model.name == "charge_gpu")
    models.replace_period(con, model, PARAMS)
    found = con.execute("select charge_id, use, team_id, weight, sum(weight) over (partition by charge_id) from charge_gpu").fetchall()
    return {(charge, use, team): Fraction(weight, total) for charge, use, team, weight, total in found}


def test_who_works_at_cheap_hours_pays_cheap_hours() -> None:
    """a by day at 2.50, b by night at 1.20, the same hours: a month's average would charge them alike."""
    rates = ["1.20" if hour < 8 or hour >= 20 else "2.50" for hour in range(24)]
    con = worked([held("a", 8, 20), held("b", 0, 8), held("b", 20, 24)], [("k", "X1", None, 1)], [rates])
    shares = charge_hours(con, [("c", "declared", "X1", "standard", START)])
    assert shares["c", "used", "team-a"] == pytest.approx(Fraction("2.50") / Fraction("3.70"), abs=1e-9)
    assert shares["c", "used", "team-b"] == pytest.approx(Fraction("1.20") / Fraction("3.70"), abs=1e-9)


def test_spot_cards_are_paid_by_who_held_spot_cards() -> None:
    capacity = [("k", "X1", "spot", 1), ("k", "X1", "on_demand", 1)]
    rows = [held("a", 0, 24, capacity_type="spot"), held("b", 0, 12, capacity_type="on_demand")]
    con = worked(rows, capacity, [["0.50"] * 24, ["2.00"] * 24])
    shares = charge_hours(con, [("s", "declared", "X1", "spot", START), ("o", "declared", "X1", "on_demand", START)])
    half = pytest.approx(Fraction(1, 2), abs=1e-9)
    assert shares == {("s", "used", "team-a"): 1, ("o", "used", "team-b"): half, ("o", "idle_unallocated", "unallocated"): half}


def test_where_one_holder_does_not_say_how_its_card_was_bought_nobody_is_told_apart() -> None:
    capacity = [("k", "X1", "spot", 1), ("k", "X1", "on_demand", 1)]
    con = worked([held("a", 0, 24, capacity_type="spot"), held("b", 0, 24)], capacity, [["0.50"] * 24, ["2.00"] * 24])
    shares = charge_hours(con, [("s", "declared", "X1", "spot", START)])
    half = pytest.approx(Fraction(1, 2), abs=1e-9)
    assert shares == {("s", "used", "team-a"): half, ("s", "used", "team-b"): half}


def test_billed_hours_are_priced_by_their_own_lines() -> None:
    """Two lines of one charge: three dollars for the first hour, one for the second, none for the rest of the day."""
    con = worked([held("a", 0, 1), held("b", 1, 2)], [])
    lines = [("c", "3", at(0), at(1)), ("c", "1", at(1), at(2))]
    assert charge_hours(con, [("c", "bill", None, "standard", START)], lines) == {("c", "used", "team-a"): Fraction(3, 4), ("c", "used", "team-b"): Fraction(1, 4)}


@pytest.mark.parametrize("seed", range(12))
def test_every_hour_adds_up_to_its_capacity(seed: int) -> None:
    """Random holders, slices and activity: per hour the uses are the capacity, or what was held beyond it; as fractions say."""
    rng = random.Random(seed)
    cards = rng.randrange(1, 6)
    rows = []
    for _ in range(rng.randrange(1, 60)):
        start = rng.uniform(-3, 60)
        end = start + rng.choice([0.5, 1, 3.25, 20]) * rng.random() + 0.01
        row = held(rng.choice(["a", "b", "c", "serving", "stranger"]), start, end, gpu_uuid=f"g{rng.randrange(cards)}")
        if rng.random() < 0.4:
            row |= {"slice_num": rng.randrange(1, 4), "slice_den": 7}
        if rng.random() < 0.5:
            row["held_seconds"] = rng.randrange(row["held_seconds"] + 1)
        if rng.random() < 0.5:
            row["active_seconds"] = rng.randrange(row["held_seconds"] + 1)
        rows.append(row)
    con = worked(rows, [("k", "X1", None, cards)])
    found = defaultdict(Fraction)
    for hour, use, who, seconds in con.execute("select usage_hour, use, coalesce(serving_pool, team_id), sum(gpu_seconds) from gpu_hourly group by all").fetchall():
        found[hour, use, who] += Fraction(seconds)
    wanted = oracle(rows, cards)
    for key in found.keys() | wanted.keys():
        assert abs(found.get(key, 0) - wanted.get(key, 0)) < Fraction(1, 10_000), key
    for hour in {hour for hour, _, _ in wanted}:
        total = sum(seconds for (h, _, _), seconds in found.items() if h == hour)
        assert total >= cards * 3600 - Fraction(1, 1000)


def oracle(rows: list[dict[str, Any]], cards: int) -> dict[tuple[datetime, str, str], Fraction]:
    teams = {"a": "team-a", "b": "team-b", "c": "team-c", "serving": "llama"}
    uses: dict[tuple[datetime, str, str], Fraction] = defaultdict(Fraction)
    for n in range(72):
        hour = datetime(2026, 10, 1) + n * HOUR
        on_card: dict[str, list[tuple[dict[str, Any], Fraction, Fraction]]] = defaultdict(list)
        for row in rows:
            start, end = row["interval_start"], row["interval_end"]
            inside = max(min(end, hour + HOUR) - max(start, hour), timedelta())
            if not inside:
                continue
            present = Fraction(row["held_seconds"]) * Fraction(inside // timedelta(microseconds=1), (end - start) // timedelta(microseconds=1))
            on_card[row["gpu_uuid"]].append((row, present, present * row.get("slice_num", 1) / row.get("slice_den", 1)))
        held_in_all, stranded = Fraction(0), Fraction(0)
        for holders in on_card.values():
            together = sum(share for _, _, share in holders)
            fit = min(Fraction(1), 3600 / together) if together else Fraction(1)
            for row, _, share in holders:
                who, share = teams.get(row["namespace"], "unallocated"), share * fit
                active = Fraction(row.get("active_seconds", row["held_seconds"]), row["held_seconds"]) if row["held_seconds"] else Fraction(1)
                uses[hour, "used", who] += share * active
                uses[hour, "idle_reserved", who] += share * (1 - active)
            held_in_all += together * fit
            sliced = [(present, share * fit) for row, present, share in holders if row.get("slice_den", 1) > 1]
            if sliced:
                rest = max(max(present for present, _ in sliced) - sum(share for _, share in sliced), Fraction(0))
                uses[hour, "idle_stranded", "unallocated"] += rest
                stranded += rest
        uses[hour, "idle_unallocated", "unallocated"] += max(cards * 3600 - held_in_all - stranded, Fraction(0))
    return {key: seconds for key, seconds in uses.items() if seconds}


def test_a_job_has_waited_once_on_the_day_on_which_it_started() -> None:
    con = worked([held("a", 22.5, 60, queue_seconds=900), held("b", -3, 5, queue_seconds=70), held("c", 1, 2)], [("k", "X1", None, 4)])
    found = con.execute("select namespace, usage_date, queue_seconds from gpu_usage order by 1, 2").fetchall()
    days = [date(2026, 10, day) for day in (1, 2, 3)]
    assert found == [("a", days[0], 900), ("a", days[1], None), ("a", days[2], None), ("b", days[0], None), ("c", days[0], None)]

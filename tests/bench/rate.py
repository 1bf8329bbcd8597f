"""What rating costs, as ratios of CPU seconds: against a bare GROUP BY over the same keys and columns, and against genai-prices.

    python -m tests.bench.rate --events 10000000

Rates events with the models of `sql/rate` into the rollup, by the shipped list prices; the bare query sums the same columns by the
same keys over the same events rated already, with nothing left to rate. Events are those of a month, drawn by DuckDB in batches as a night
rates them: days of them, a day alone where it has many.
genai-prices' calculator is timed on a sample, where the package is installed, and compared per event with rating alone.
"""

from __future__ import annotations

import argparse
import random
import resource
import tempfile
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import duckdb

from pipelines import models, policy, prices
from pipelines.home import asset
from pipelines.rate import BATCH_ROWS
from pipelines.sources import EVENT
from pipelines.warehouse import memory

PERIOD = "2026-10"
MODELS = [
    ("openai", "gpt-5"), ("openai", "gpt-5-mini"), ("openai", "gpt-5.4"), ("anthropic", "claude-sonnet-4-5"), ("anthropic", "claude-haiku-4-5"),
    ("anthropic", "claude-opus-4-1"), ("google", "gemini-2.5-pro"), ("google", "gemini-2.5-flash"), ("aws", "amazon.nova-pro-v1:0"),
    ("deepseek", "deepseek-chat"), ("openai", "text-embedding-3-small"), ("openai", "unheard-of"),
]  # fmt: skip
CALLS = 5_000  # of genai-prices


def cpu(work: Callable[[], object]) -> float:
    before = resource.getrusage(resource.RUSAGE_SELF)
    work()
    after = resource.getrusage(resource.RUSAGE_SELF)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def prepare(con: duckdb.DuckDBPyConnection, folder: Path) -> None:
    """Everything but events: macros, an empty policy, list prices, the rates of the month."""
    con.execute(asset("sql", "macros.sql").read_text(encoding="utf-8"))
    policy.write_template(folder / "policy", PERIOD)
    policy.register(con, policy.load(folder / "policy"))
    prices.register(con, asset("data", "list_prices"))
    con.execute("create temp table names(n integer, provider varchar, model varchar)")
    con.executemany("insert into names values (?, ?, ?)", [(n, *pair) for n, pair in enumerate(MODELS)])
    con.execute("create temp table pairs as select provider, model as model_as_logged from names")
    prices.resolve_models(con, "pairs", asset("data", "list_prices"))
    names = next(model for model in models.stage("normalize") if model.name == "model_names")
    con.execute(f"create temp table model_names as select $period as usage_period, * from ({names.sql})", {"period": PERIOD})
    texts = ("usage_period", "charge_category", "charge_class", "billing_currency", "consumed_unit", "provider", "model", "service", "service_tier", "sku_meter", "usage_date", "vector_index_id", "cluster")
    con.execute(f"create temp table bill_lines({', '.join(f'{name} varchar' for name in texts)}, consumed_quantity decimal(38, 12), contracted_cost decimal(38, 12))")
    by_name = {model.name: model for model in models.stage("rate")}
    for name in ("bill_prices", "rates"):
        con.execute(f"create temp table {name} as select $period as usage_period, * from ({by_name[name].sql})", {"period": PERIOD})


def draw(con: duckdb.DuckDBPyConnection, first: int, count: int) -> None:
    """Temp table `events`: a batch of a few days, as sql/rate/events.sql leaves them."""
    known = {
        "event_id": "'e' || i", "occurred_at": "timestamp '2026-10-01' + to_seconds(h % 2592000)", "provider": "n.provider",
        "model_as_logged": "n.model", "service_tier": "['standard', 'standard', 'standard', 'batch', 'flex'][1 + h % 5]", "operation": "'chat'",
        "status": "if(h % 50 = 0, 'failure', 'success')", "gateway_cache": "'none'", "application": "'app-' || h % 7", "environment": "'production'",
        "request_type": "'interactive'", "region": "if(h % 3 = 0, 'eu', null)", "input_uncached_tokens": "h % 7000", "cache_read_tokens": "h % 11 * 900",
        "cache_write_5m_tokens": "if(h % 9 = 0, 2000, 0)", "cache_write_1h_tokens": "0", "output_tokens": "h % 900", "reasoning_tokens": "h % 400",
        "audio_input_tokens": "0", "audio_output_tokens": "0", "avoided_input_tokens": "0", "avoided_output_tokens": "0", "images": "0",
        "search_units": "0", "queries": "0", "requests": "1", "latency_ms": "h % 9000", "source_cost": "0.001",
    }  # fmt: skip
    columns = [f"({known.get(name, 'null')})::{kind} as {name}" for name, kind in EVENT.items()]
    columns += [f"{value} as {name}" for name, value in {
        "model": "m.model", "source": "'proxy'", "source_file": "'f'", "source_row": "i", "usage_date": "occurred_at::date", "provider_day": "occurred_at::date",
        "caller_team_id": "'team-' || h % 12", "team_id": "'team-' || h % 12", "project_id": "'project-' || h % 40", "billing_account_id": "n.provider",
        "price_provider": "m.price_provider", "price_model": "m.price_model", "serving_pool": "null::varchar", "unknown_trigger": "null::varchar",
    }.items()]  # fmt: skip
    con.execute(
        f"""
        create or replace temp table events as
        with numbers as (select i, (hash(i) % 1000000007)::bigint as h from range({first}, {first + count}) t(i)),
        drawn as (select *, (h % {len(MODELS)})::integer as n from numbers)
        select {", ".join(columns)}
        from drawn d
        join names n on n.n = d.n
        join model_names m on m.provider = n.provider and m.model_as_logged = n.model
        """
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=10_000_000)
    events = parser.parse_args().events
    by_name = {model.name: model for model in models.stage("rate")}
    daily = by_name["usage_daily"].sql
    events_sql = by_name["usage_events"].sql
    rated_sql = f"with usage_events as ({events_sql}) {daily}"
    alone_sql = f"select sum(list_cost), sum(contracted_cost), count(rate_id), count(unpriced_because) from ({events_sql})"
    rated = bare = alone = 0.0
    with tempfile.TemporaryDirectory() as folder, memory() as con:
        prepare(con, Path(folder))
        batch = max(BATCH_ROWS, events // 30)
        for first in range(0, events, batch):
            draw(con, first, min(batch, events - first))
            rated += cpu(lambda: con.execute(f"create or replace temp table rollup as {rated_sql}", {"period": PERIOD}))
            alone += cpu(lambda: con.execute(alone_sql, {"period": PERIOD}).fetchall())
            con.execute(f"create temp table usage_events as {events_sql}", {"period": PERIOD})
            bare += cpu(lambda: con.execute(f"create or replace temp table bare as {daily}"))
            con.execute("drop table usage_events")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{events:,} events  rated {rated:.1f} s CPU  bare {bare:.1f} s  ratio {rated / bare:.2f}  peak {peak:,.0f} MB")
    library = calculator()
    if library:
        print(f"genai-prices {library * 1e6:.1f} us per event  ours {alone / events * 1e6:.2f} us  {library / (alone / events):.0f} times less (with the rollup {library / (rated / events):.0f})")


def calculator() -> float | None:
    """CPU seconds of one call of genai-prices; None where it is not installed."""
    try:
        from genai_prices import Usage, calc_price
    except ImportError:
        return None
    rng = random.Random(3)
    given = [(Usage(input_tokens=rng.randrange(20_000) + 9_000, cache_read_tokens=rng.randrange(9_000), output_tokens=rng.randrange(900)), *rng.choice(MODELS[:-1])) for _ in range(CALLS)]
    at = datetime(2026, 10, 20, 12, tzinfo=UTC)

    def calls() -> None:
        for usage, provider, model in given:
            calc_price(usage, model_ref=model, provider_id=provider, genai_request_timestamp=at)

    calls()
    return cpu(calls) / CALLS


if __name__ == "__main__":
    main()

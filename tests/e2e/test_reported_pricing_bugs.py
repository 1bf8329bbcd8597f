"""Pricing bugs that users of gateways and price libraries reported, one test each: what they got wrong comes out right here.

The reports are named at each case, by their numbers in the list of reports. C20 (searches of the web) is in test_usage_reports, C24 (provisioned
units) in test_contracts and test_contracts_night, C25 (a price list that cannot be read) in test_prices. A month of one company, read from logs in the reported shapes, rated in one night.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pytest

from pipelines import jobs, prices
from pipelines.home import Home
from tests.conftest import empty_home, quiet

SOURCES = """version: 1
gateways:
  - {name: litellm, format: litellm}
  - {name: otel, format: otel_genai}
  - {name: langfuse, format: langfuse}
  - name: mapped
    format: mapped
    file: jsonl
    fields: {event_id: id, occurred_at: ts, provider: provider, model: model, region: region, service_tier: tier, operation: operation,
             status: {value: success}, input_tokens: input, cache_read_tokens: read, output_tokens: output, images: images, search_units: units}
models:
  - {provider: azure, logged: prod-chat, model: gpt-4o, prices_of: openai}
"""
CONTRACTS = """version: 1
private_prices:
  - {id: opus-in, provider: anthropic, model: claude-opus-4-1, meter: input_uncached, per_million: "15"}
  - {id: opus-out, provider: anthropic, model: claude-opus-4-1, meter: output, per_million: "75"}
  - {id: opus-read, provider: anthropic, model: claude-opus-4-1, meter: cache_read, per_million: "1.5"}
  - {id: opus-write, provider: anthropic, model: claude-opus-4-1, meter: cache_write_5m, per_million: "18.75"}
"""
M = Decimal("0.000001")


def call(key: str, provider: str, model: str, prompt: int, completion: int, usage: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    """A LiteLLM standard logging payload."""
    return {
        "id": key, "call_type": "acompletion", "status": "success", "custom_llm_provider": provider, "model": model, "cache_hit": False,
        "startTime": 1791374400.0, "endTime": 1791374401.0, "prompt_tokens": prompt, "completion_tokens": completion, "response_cost": 0.0,
        "request_tags": [], "metadata": {"usage_object": {"prompt_tokens": prompt, "completion_tokens": completion, **(usage or {})}}, **more,
    }  # fmt: skip


def logged(key: str, provider: str, model: str, **more: Any) -> dict[str, Any]:
    """A row of a gateway of our own."""
    return {"id": key, "ts": "2026-10-07T12:00:00Z", "provider": provider, "model": model, "operation": "chat", **more}


PAYLOADS = [
    call("c1", "anthropic", "claude-3-7-sonnet-20250219", 12_307, 550, {"cache_creation_input_tokens": 12_304, "cache_read_input_tokens": 0}),
    call("c2", "anthropic", "claude-sonnet-4-5", 2_459, 100, {"cache_read_input_tokens": 2_455, "prompt_tokens_details": {"cached_tokens": 0}}),
    call("c3-miss", "openai", "gpt-5", 1_000, 10, {"prompt_tokens_details": {"cached_tokens": 900}}, cache_hit="None"),
    call("c3-hit", "openai", "gpt-5", 1_000, 10, cache_hit=True),
    call("c4", "anthropic", "claude-opus-4-1", 11_000, 500, {"cache_creation_input_tokens": 2_000, "cache_read_input_tokens": 8_000}),
    call("c6", "openrouter", "anthropic/claude-sonnet-4.5", 17_903, 120, {"prompt_tokens_details": {"cached_tokens": 17_817}}),
    call("c7", "anthropic", "claude-sonnet-4-5", 4, 100, {"cache_read_input_tokens": 5_000}),
    call("c8", "vertex_ai", "gemini-2.5-flash", 10_000, 100, {"prompt_tokens_details": {"cached_tokens": 8_000}}),
    call("c9", "gemini", "gemini-2.5-pro", 301_016, 100),
    call("c10-us", "bedrock", "us.anthropic.claude-sonnet-4-5-20250929-v1:0", 1_000, 0),
    call("c10-global", "bedrock", "global.anthropic.claude-sonnet-4-5-20250929-v1:0", 1_000, 0),
    call("c10-residency", "openai", "gpt-5.4", 1_000, 0, cost_breakdown={"data_residency": "eu"}),
    call("c10-anywhere", "openai", "gpt-5.4", 1_000, 0),
    call("c11-broken", "openai", "gpt-5", 1_000, 700, status="failure"),
    call("c11-zero", "openai", "gpt-5", 0, 0),
    call("c11-refused", "openai", "gpt-5", 0, 0, status="failure"),
    call("c12-first", "openai", "gpt-5", 0, 0, status="failure", trace_id="t12"),
    call("c12-second", "openai", "gpt-5", 1_000, 10, trace_id="t12"),
    call("c13", "anthropic", "claude-sonnet-4-5", 56_836, 563, {"iterations": [
        {"type": "message", "model": "claude-opus-4-1", "input_tokens": 100, "cache_read_input_tokens": 56_018, "cache_creation_input_tokens": 0, "output_tokens": 299},
        {"type": "message", "model": "claude-haiku-4-5", "input_tokens": 306, "cache_read_input_tokens": 0, "output_tokens": 0},
        {"type": "message", "model": "claude-sonnet-4-5", "input_tokens": 312, "cache_creation_input_tokens": 100, "cache_creation": {"ephemeral_1h_input_tokens": 40}, "output_tokens": 264},
    ]}),
    call("c13-one", "anthropic", "claude-sonnet-4-5", 312, 264, {"iterations": [{"model": "claude-sonnet-4-5", "input_tokens": 100, "output_tokens": 200}, {"model": "claude-sonnet-4-5", "input_tokens": 212, "output_tokens": 64}]}),
    call("c14", "openai", "gpt-5", 1_000, 10, call_type="aget_responses"),
    call("", "openai", "gpt-5", 15, 1, litellm_call_id="c15-a"),
    call("", "openai", "gpt-5", 15, 1, litellm_call_id="c15-b"),
    call("c16", "openai", "gpt-5", 1_000, 10, request_tags=["a", "b", "project:x"]),
    call("c17", "openai", "gpt-5", 1_000, 10, startTime="2026-10-07T23:30:00-05:00", endTime="2026-10-07T23:30:01-05:00"),
    call("c18-told", "azure", "prod-chat", 1_000, 10),
    call("c18", "azure", "team-deployment-7", 1_000, 10),
    call("c19", "bedrock", "cohere.rerank-v3-5:0", 0, 0, call_type="arerank"),
    call("c21", "openrouter", "some/thing-new", 1_000, 10, response_cost=0.25),
    call("c23", "hosted_vllm", "gpt-5", 1_000, 10),
    call("c26", "deepseek", "deepseek-reasoner", 1_000, 10, cost_breakdown={"service_tier": "batch"}),
    call("tier-flex", "openai", "gpt-5", 1_000, 10, cost_breakdown={"service_tier": "flex"}),
    call("tier-priority", "openai", "gpt-5", 1_000, 10, cost_breakdown={"service_tier": "priority"}),
    call("thinking", "openai", "gpt-5", 100, 1_000, {"completion_tokens_details": {"reasoning_tokens": 900}}),
]
SPAN = {
    "traceId": "4bf92f3577b34da6a3ce929d0e0e4736", "spanId": "0000000000000002", "name": "chat", "startTimeUnixNano": "1791374400000000000",
    "endTimeUnixNano": "1791374401000000000", "status": {"code": 1}, "attributes": [
        {"key": "gen_ai.operation.name", "value": {"stringValue": "chat"}},
        {"key": "gen_ai.provider.name", "value": {"stringValue": "anthropic"}},
        {"key": "gen_ai.response.model", "value": {"stringValue": "claude-sonnet-4-5-20250929"}},
        {"key": "gen_ai.usage.input_tokens", "value": {"intValue": "130213"}},
        {"key": "gen_ai.usage.cache_read.input_tokens", "value": {"intValue": "130208"}},
        {"key": "gen_ai.usage.output_tokens", "value": {"intValue": "340"}},
    ],
}  # fmt: skip
OBSERVATION = {
    "id": "o1", "trace_id": "t", "project_id": "p", "type": "GENERATION", "start_time": "2026-10-07T12:00:00.000Z", "end_time": "2026-10-07T12:00:01.000Z",
    "provided_model_name": "claude-sonnet-4-5", "level": "DEFAULT", "metadata": {"provider": "anthropic"},
    "usage_details": {"input": 86, "input_cache_read": 17_817, "output": 120, "total": 18_023}, "updated_at": "2026-10-07T12:00:02.000Z",
}  # fmt: skip
ROWS = [
    logged("rerank", "cohere", "rerank-v3.5", operation="rerank", units=3),
    logged("rerank-elsewhere", "voyageai", "rerank-2.5", operation="rerank", units=3),
    logged("pages", "mistral", "mistral-ocr-2512", operation="other", images=40),
    logged("fee", "perplexity", "sonar", input=1_000, output=100),
    logged("embedding-that-answers", "openai", "text-embedding-3-small", input=1_000, output=5),
    logged("embedding", "openai", "text-embedding-3-small", input=1_000, operation="embedding"),
    logged("night", "deepseek", "deepseek-chat", input=1_000, output=100, ts="2026-10-07T16:30:00Z"),
    logged("day", "deepseek", "deepseek-chat", input=1_000, output=100, ts="2026-10-07T16:29:59Z"),
    logged("long-200000", "google", "gemini-2.5-pro", input=200_000),
    logged("long-200001", "google", "gemini-2.5-pro", input=200_001),
]


def land(home: Home, source: str, rows: list[dict[str, Any]]) -> None:
    folder = home.landing / "gateway" / source
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "one.jsonl").write_text("\n".join(json.dumps(row) for row in rows) + "\n")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    home = empty_home(tmp_path_factory.mktemp("bugs"), SOURCES, "2026-10")
    (home.policy / "contracts.yaml").write_text(CONTRACTS)
    land(home, "litellm", PAYLOADS)
    land(home, "otel", [{"resourceSpans": [{"resource": {"attributes": []}, "scopeSpans": [{"scope": {"name": "genai"}, "spans": [SPAN]}]}]}])
    land(home, "langfuse", [OBSERVATION])
    land(home, "mapped", ROWS)
    jobs.nightly(home, date(2026, 10, 31), quiet)
    return home


Query = Callable[[str], list[tuple[Any, ...]]]


@pytest.fixture(scope="module")
def query(home: Home) -> Query:
    def ask(sql: str) -> list[tuple[Any, ...]]:
        with duckdb.connect(str(home.current), read_only=True) as con:
            return con.execute(sql).fetchall()

    return ask


@pytest.fixture(scope="module")
def cost(query: Query) -> Callable[[str], Decimal | None]:
    found = dict(query("select event_id, contracted_cost from usage_events"))
    return found.__getitem__


Cost = Callable[[str], Decimal | None]


def test_tokens_written_to_the_cache_are_not_input_too(cost: Cost) -> None:
    """C1: litellm#9812, #5443: 3 uncached, 12,304 written, 550 of output."""
    assert cost("c1") == 3 * 3 * M + 12_304 * Decimal("3.75") * M + 550 * 15 * M


def test_cached_tokens_that_only_one_field_tells(cost: Cost) -> None:
    """C2: litellm#11789: cached_tokens 0 beside cache_read_input_tokens 2,455 of 2,459."""
    assert cost("c2") == 4 * 3 * M + 2_455 * Decimal("0.3") * M + 100 * 15 * M


def test_a_hit_of_the_gateway_is_free_and_one_of_the_vendor_is_cheap(cost: Cost) -> None:
    """C3: litellm#11364."""
    assert cost("c3-miss") == 100 * Decimal("1.25") * M + 900 * Decimal("0.125") * M + 10 * 10 * M
    assert cost("c3-hit") == 0


def test_agreed_prices_count_cached_tokens_once(cost: Cost, query: Query) -> None:
    """C4: litellm#40006: the same prices as a contract came out at more than twice the cost."""
    assert cost("c4") == 1_000 * 15 * M + 2_000 * Decimal("18.75") * M + 8_000 * Decimal("1.5") * M + 500 * 75 * M
    assert query("select rate_source, list_cost = contracted_cost from usage_events where event_id = 'c4'") == [("contract", True)]


def test_input_that_contains_its_cached_part_is_not_added_to_it(query: Query) -> None:
    """C5, C6: langfuse#12306 (130,213 became 260,421), langfuse#10592 (17,903 became 35,720), from three kinds of log."""
    found = query(
        "select source, input_uncached_tokens, cache_read_tokens from usage_events"
        " where source in ('otel', 'langfuse') or event_id = 'c6' order by all"
    )
    assert found == [("langfuse", 86, 17_817), ("litellm", 86, 17_817), ("otel", 5, 130_208)]


def test_counts_that_contradict_each_other_are_set_aside(query: Query) -> None:
    """C7: langsmith-sdk PR 2519: input without its cached part was cut to zero, and cost nothing."""
    assert query("select count(*) from usage_events where event_id = 'c7'") == [(0,)]
    assert query("select count(*) from quarantine where source = 'litellm'") == [(1,)]


def test_implicit_caching_counts(cost: Cost) -> None:
    """C8: litellm#16341."""
    assert cost("c8") == 2_000 * Decimal("0.3") * M + 8_000 * Decimal("0.03") * M + 100 * Decimal("2.5") * M


def test_a_long_request_costs_the_long_price_on_every_token(cost: Cost, query: Query) -> None:
    """C9: litellm PR 38615: 301,016 tokens billed flat, half the invoice."""
    assert cost("c9") == Decimal("301016") * Decimal("2.5") * M + 100 * 15 * M
    assert query("select context_tier from usage_events where event_id = 'c9'") == [(">200000",)]
    assert (cost("long-200000"), cost("long-200001")) == (Decimal("0.25"), Decimal("0.5000025"))


def test_regions_cost_their_uplift(cost: Cost) -> None:
    """C10: litellm#26795: us. and eu. ten percent above global., data residency likewise."""
    for here, there in (("c10-us", "c10-global"), ("c10-residency", "c10-anywhere")):
        assert cost(here) * 10 == cost(there) * 11 > 0  # type: ignore[operator]


def test_what_a_broken_call_counted_is_not_free(cost: Cost, query: Query) -> None:
    """C11: litellm#14457, #13245, #37992: tokens of a failure cost, counts of zero stay zero and are no estimate."""
    assert cost("c11-broken") == 1_000 * Decimal("1.25") * M + 700 * 10 * M
    assert cost("c11-refused") == 0
    assert query("select contracted_cost, output_tokens, rate_source from usage_events where event_id = 'c11-zero'") == [(None, 0, "not metered")]


def test_attempts_are_rows_of_one_request(query: Query) -> None:
    """C12: litellm#39455."""
    found = query("select count(*), count(distinct trace_id), sum(contracted_cost) from usage_events where trace_id = 't12'")
    assert found == [(2, 1, 1_000 * Decimal("1.25") * M + 10 * 10 * M)]


def test_a_call_that_went_through_two_models_costs_each_its_own_price(cost: Cost, query: Query) -> None:
    """C13: litellm PR 39294: a declined attempt was charged at the price of the model that answered, and one without output at all."""
    assert cost("c13/1") == 100 * 15 * M + 56_018 * Decimal("1.5") * M + 299 * 75 * M
    assert cost("c13") == 312 * 3 * M + 60 * Decimal("3.75") * M + 40 * 6 * M + 264 * 15 * M
    assert cost("c13-one") == 312 * 3 * M + 264 * 15 * M
    assert query("select event_id, model, status from usage_events where event_id like 'c13/%'") == [("c13/1", "claude-opus-4-1", "failure")]


def test_fetching_an_answer_again_is_no_use(query: Query) -> None:
    """C14: litellm#17814."""
    assert query("select requests, contracted_cost, rate_source from usage_events where event_id = 'c14'") == [(0, 0, "not metered")]


def test_calls_without_an_id_are_all_kept(query: Query) -> None:
    """C15: litellm#6633."""
    assert query("select count(*) from usage_events where event_id like 'c15-%'") == [(2,)]


def test_tags_multiply_nothing(query: Query) -> None:
    """C16: litellm#21894: three tags, sixty-seven percent more spend."""
    assert query("select count(*), sum(contracted_cost) from usage_events where event_id = 'c16'") == [(1, 1_000 * Decimal("1.25") * M + 10 * 10 * M)]


def test_a_call_is_on_one_day(query: Query) -> None:
    """C17: litellm#27780, #29568: days of other zones overlapped."""
    assert query("select usage_date from usage_events where event_id = 'c17'") == [(date(2026, 10, 8),)]
    assert query("select (select count(*) from usage_events) = (select sum(events) from usage_daily)") == [(True,)]


def test_a_deployment_name_is_unknown_until_somebody_says_what_it_means(cost: Cost, query: Query) -> None:
    """C18: litellm#8514, #12313: logged at zero."""
    assert cost("c18-told") == 1_000 * Decimal("2.5") * M + 10 * 10 * M
    assert query("select contracted_cost, rate_source, unpriced_because from usage_events where event_id = 'c18'") == [(None, "unpriced", "no price of the model")]
    assert ("unpriced", "azure team-deployment-7") in query("select kind, what from exceptions")


def test_a_rerank_without_units_is_not_free(cost: Cost, query: Query) -> None:
    """C19: litellm#7258: empty billed_units came out at zero."""
    assert query("select contracted_cost, rate_source from usage_events where event_id = 'c19'") == [(None, "not metered")]
    assert cost("rerank") == 3 * Decimal("0.002")
    found = query("select contracted_cost, rate_source, unpriced_because from usage_events where event_id = 'rerank-elsewhere'")
    assert found == [(None, "unpriced", "no price of the model")] or found == [(None, "unpriced", "no price of search units")]


def test_what_the_vendor_says_it_cost_is_kept_as_evidence(query: Query) -> None:
    """C21: litellm#27588: the price of a model changes by the call."""
    assert query("select source_cost, contracted_cost, rate_source from usage_events where event_id = 'c21'") == [(Decimal("0.25"), None, "unpriced")]


def test_a_model_of_our_own_has_no_made_up_price(query: Query) -> None:
    """C23: archestra PR 6906: a third of all spend was a self-hosted model at the price of another."""
    assert query("select list_cost, contracted_cost, rate_source from usage_events where event_id = 'c23'") == [(None, None, "unpriced")]


def test_no_batch_discount_where_nobody_sells_batches(cost: Cost) -> None:
    """C26: truefoundry/models PR 2845."""
    assert cost("c26") == 1_000 * Decimal("0.55") * M + 10 * Decimal("2.19") * M


def test_tiers(cost: Cost) -> None:
    """Measured on litellm: flex half, priority twice the standard price; reasoning is part of the output."""
    standard = 1_000 * Decimal("1.25") * M + 10 * 10 * M
    assert (cost("tier-flex"), cost("tier-priority")) == (standard / 2, standard * 2)
    assert cost("thinking") == 100 * Decimal("1.25") * M + 1_000 * 10 * M


def test_the_published_meters_and_rates_explain_the_cost(query: Query) -> None:
    """C27: tokensave#472: without cache columns nobody could compute a cost again."""
    differing = query(
        """
        select u.event_id, u.contracted_cost
        from usage_events u join rates r using (rate_id)
        where u.rate_source <> 'not metered' and abs(u.contracted_cost - (
            u.input_uncached_tokens * coalesce(r.contracted_input_uncached, 0) + u.cache_read_tokens * coalesce(r.contracted_cache_read, 0)
            + u.cache_write_5m_tokens * coalesce(r.contracted_cache_write_5m, 0) + u.cache_write_1h_tokens * coalesce(r.contracted_cache_write_1h, 0)
            + u.output_tokens * coalesce(r.contracted_output, 0) + u.reasoning_tokens * coalesce(r.contracted_reasoning, 0)
            + u.images * coalesce(r.contracted_images, 0) + u.search_units * coalesce(r.contracted_search_units, 0)
            + u.requests * coalesce(r.contracted_requests, 0))) > 0
        """
    )
    assert differing == []


def test_a_kind_of_token_without_a_price_leaves_no_part_of_it_free(cost: Cost, query: Query) -> None:
    found = query("select contracted_cost, list_cost, rate_source, unpriced_because from usage_events where event_id = 'embedding-that-answers'")
    assert found == [(None, None, "unpriced", "no price of output tokens")]
    assert cost("embedding") == 1_000 * Decimal("0.02") * M
    assert query("select sum(unpriced_events), count(contracted_cost) from usage_daily where unpriced_because = 'no price of output tokens'") == [(1, 0)]


def test_pages_fees_and_hours(cost: Cost) -> None:
    assert cost("pages") == 40 * Decimal("0.002")
    assert cost("fee") == Decimal("0.012") + 1_000 * M + 100 * M
    assert cost("day") == 2 * cost("night") == 1_000 * Decimal("0.27") * M + 100 * Decimal("1.1") * M  # type: ignore[operator]


def test_every_rate_tells_where_it_is_from(query: Query) -> None:
    assert query("select count(*) from rates where rate_source = 'list' and (recorded_at is null or source_version is null or source is null)") == [(0,)]
    names = query("select provider, model_as_logged, price_provider, list_provider, list_model, rule from model_names where model_as_logged = 'prod-chat'")
    assert names == [("azure", "prod-chat", "azure", "openai", "gpt-4o", "override: openai gpt-4o")]


def test_a_newer_list_changes_nothing_that_is_rated(home: Home, query: Query, tmp_path: Path) -> None:
    """C22: ccusage#1636, langfuse#12184: the same tokens had two totals when the price map changed."""
    before = query("select event_id, list_cost, contracted_cost, rate_id from usage_events order by all")
    copy = Home(Path(shutil.copytree(home.root, tmp_path / "copy", symlinks=True)))
    newer = prices.newest(copy.list_prices)
    shutil.copytree(newer, copy.list_prices / "2026-12-01")
    jobs.nightly(copy, date(2026, 10, 31), quiet)
    with duckdb.connect(str(copy.current), read_only=True) as con:
        assert con.execute("select event_id, list_cost, contracted_cost, rate_id from usage_events order by all").fetchall() == before

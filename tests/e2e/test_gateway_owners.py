"""From a cloud's and a gateway's log to exactly one owner per call, whatever the record tells of the caller."""

from __future__ import annotations

import json
import shutil
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pytest

from pipelines import jobs
from pipelines.home import Home, asset
from tests.conftest import quiet

COMPANY = """
version: 1
name: Owners
currency: USD
legal_entities: [{id: ONE, name: One, country: US}]
cost_centers: [{id: CC-1, name: Everything, legal_entity: ONE}]
calendar: {first_period: 2026-09}
platform_team: platform
"""
TEAMS = """
version: 1
teams:
  - {id: platform, name: Platform, cost_center: CC-1, mode: showback, belongs: [{provider_project: "111111111111"}]}
  - id: search
    name: Search
    cost_center: CC-1
    mode: showback
    belongs:
      - {gateway_team: team-search}
      - {principal: "arn:aws:sts::*:assumed-role/search-*", to: 2026-09-20}
      - {inference_profile: "arn:aws:bedrock:us-east-1:111111111111:application-inference-profile/p1", project: answers}
  - id: ads
    name: Ads
    cost_center: CC-1
    mode: showback
    belongs: [{principal: "arn:aws:sts::*:assumed-role/*", project: banners}, {principal: "arn:aws:iam::1:user/a_?n"}]
projects: [{id: answers, team: search}, {id: banners, team: ads}]
"""
SOURCES = """
version: 1
gateways:
  - {name: bedrock, format: bedrock}
  - {name: kong, format: kong}
  - name: indexer
    format: mapped
    file: jsonl
    fields: {event_id: id, occurred_at: at, provider: {value: openai}, model: {value: text-embedding-3-small}, operation: {value: embedding},
      input_tokens: tokens, gateway_team: {value: team-search}, triggered_by: of}
"""
ALLOCATION = """
version: 1
pools: {rest: "true"}
rules: [{id: rest, pool: rest, method: to, to: unallocated}]
"""
ROLE = "arn:aws:sts::111111111111:assumed-role/"
PROFILE = "arn:aws:bedrock:us-east-1:111111111111:application-inference-profile/p1"
CALLS = [  # account, principal, model, metadata, day -> owner, project
    ("111111111111", f"{ROLE}search-api/s1", "nova", {}, 8, "search", None),  # two patterns: the longer one
    ("111111111111", f"{ROLE}search-api/s1", "nova", {}, 20, "ads", "banners"),  # the longer one has ended
    ("111111111111", f"{ROLE}other/s2", "nova", {}, 8, "ads", "banners"),
    ("111111111111", f"{ROLE}other/s2", "nova", {"team": "team-search"}, 8, "search", None),  # a team named on the call
    ("111111111111", f"{ROLE}other/s2", PROFILE, {}, 8, "search", "answers"),
    ("111111111111", "arn:aws:iam::1:user/bob", "nova", {}, 8, "platform", None),  # nobody's user in platform's account
    ("222222222222", "arn:aws:iam::1:user/a_nn", "nova", {}, 8, "ads", None),
    ("222222222222", "arn:aws:iam::1:user/abnn", "nova", {}, 8, "unallocated", None),  # _ stands for itself
    ("222222222222", "arn:aws:iam::1:user/bob", "nova", {}, 8, "unallocated", None),
    ("222222222222", None, "nova", {"project": "banners"}, 8, "ads", "banners"),
]


def _bedrock(number: int, account: str, arn: str | None, model: str, metadata: dict[str, str], day: int, *_: Any) -> dict[str, Any]:
    return {
        "timestamp": f"2026-09-{day:02d}T12:00:00Z", "accountId": account, "region": "us-east-1", "requestId": str(number),
        "operation": "Converse", "modelId": model, "identity": {"arn": arn}, "requestMetadata": metadata,
        "input": {"inputTokenCount": 5}, "output": {"outputTokenCount": 7},
    }  # fmt: skip


def _kong(request: str, prompt: int) -> dict[str, Any]:
    rag = {"embeddings_tokens": 62, "embeddings_provider": "openai", "embeddings_model": "text-embedding-3-small"}
    return {
        "request": {"id": request, "uri": "/chat"}, "response": {"status": 200}, "started_at": 1788868800000,
        "consumer": {"username": "team-search"},
        "ai": {"proxy": {"usage": {"prompt_tokens": prompt, "completion_tokens": 1}, "rag-inject": rag,
                         "meta": {"provider_name": "openai", "response_model": "gpt-4o"}}},
    }  # fmt: skip


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    home = Home(tmp_path_factory.mktemp("owners"))
    home.policy.mkdir(parents=True)
    for name, text in {"company": COMPANY, "teams": TEAMS, "sources": SOURCES, "allocation": ALLOCATION}.items():
        (home.policy / f"{name}.yaml").write_text(text)
    shutil.copytree(asset("data", "list_prices"), home.list_prices)
    bedrock = Path("bedrock/AWSLogs/111111111111/BedrockModelInvocationLogs/us-east-1/2026/09/08/12/a.json")
    # Two versions of each request, in both orders: whichever wins, the embedding of its question stands in the other line.
    kong = [_kong("k1", 10), _kong("k1", 11), _kong("k2", 11), _kong("k2", 10), {"request": {"id": "no-ai"}}]
    embedded = [{"id": n, "at": "2026-09-08T12:00:00Z", "tokens": 1_000_000, "of": of} for n, of in enumerate(("ads", "team-serch", "team-serch", None))]
    landed = {bedrock: [_bedrock(n, *c) for n, c in enumerate(CALLS)], Path("kong/a.jsonl"): kong, Path("indexer/a.jsonl"): embedded}
    for path, records in landed.items():
        (home.landing / "gateway" / path).parent.mkdir(parents=True)
        (home.landing / "gateway" / path).write_text("".join(json.dumps(r) + "\n" for r in records))
    assert jobs.nightly(home, date(2026, 9, 30), quiet).refused == []
    return home


@pytest.fixture(scope="module")
def used(home: Home) -> list[tuple[Any, ...]]:
    """usage_events of one night: source, event_id, team_id, project_id, operation, input tokens."""
    with duckdb.connect(str(home.current), read_only=True) as con:
        files = con.execute("select source, lines, good, rejected, inserted from source_files order by 1").fetchall()
        assert files == [("bedrock", 10, 10, 0, 10), ("indexer", 4, 4, 0, 4), ("kong", 9, 8, 1, 4)]
        rejected = con.execute("select source_row, byte_offset > 0, reason from quarantine").fetchall()
        assert rejected == [(5, True, "not_a_model_call")]
        return con.execute(
            "select source, event_id, team_id, project_id, operation, input_uncached_tokens, principal, inference_profile"
            " from usage_events order by event_id"
        ).fetchall()


@pytest.mark.parametrize("number", range(len(CALLS)))
def test_a_call_of_the_cloud_has_one_owner(used: list[tuple[Any, ...]], number: int) -> None:
    account, arn, model, _, _, team, project = CALLS[number]
    found = [row for row in used if row[1] == f"{account}/us-east-1/{number}"]
    assert found == [("bedrock", found[0][1], team, project, "chat", 5, arn, model if model == PROFILE else None)]


def test_the_events_of_one_line_are_counted_apart(used: list[tuple[Any, ...]]) -> None:
    found = {row[1]: row[2:6] for row in used if row[0] == "kong"}
    assert sorted(found) == ["k1", "k1/rag-inject", "k2", "k2/rag-inject"]
    assert found["k1"] == found["k2"] and found["k1"][3] in (10, 11)
    assert found["k1/rag-inject"] == found["k2/rag-inject"] == ("search", None, "embedding", 62)


def test_a_name_that_nobody_has_is_an_exception_in_dollars(home: Home) -> None:
    """The embedding is paid by who called, as it must be by somebody, and the name that caused it is not lost."""
    with duckdb.connect(str(home.current), read_only=True) as con:
        found = con.execute("select what, amount, events, detail from exceptions where kind = 'unknown_trigger'").fetchall()
        paid = con.execute("select team_id, unknown_trigger from usage_events where source = 'indexer' order by event_id").fetchall()
    assert found == [("team-serch", Decimal("0.04"), 2, "named as the team whose documents caused it, and not in teams.yaml: search pays")]
    assert paid == [("ads", None), ("search", "team-serch"), ("search", "team-serch"), ("search", None)]

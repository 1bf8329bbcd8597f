"""Whose call it was: a key that several teams share is divided by what its calls say, and every call has one owner."""

from __future__ import annotations

import shutil
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from pipelines import models, policy, warehouse
from pipelines.normalize import landed_table
from pipelines.sample import policy_files
from pipelines.yaml_file import PolicyRefused

EVENTS = next(model for model in models.stage("rate") if model.name == "events")
SEARCH = "      - {gateway_team: team-search}\n"
DOCS = "      - {gateway_team: team-docs}\n"


def load(tmp_path: Path, search: list[str], docs: list[str]) -> policy.Policy:
    """The sample's policy, with more claims of two teams."""
    folder = Path(shutil.copytree(policy_files(), tmp_path / "policy"))
    text = (folder / "teams.yaml").read_text()
    assert SEARCH in text and DOCS in text
    for line, claims in ((SEARCH, search), (DOCS, docs)):
        text = text.replace(line, line + "".join(f"      - {{{claim}}}\n" for claim in claims), 1)
    (folder / "teams.yaml").write_text(text)
    return policy.load(folder)


def owners(loaded: policy.Policy, *calls: dict[str, Any]) -> list[tuple[str, str | None]]:
    """(team, project) of each call, in order; every call is one event."""
    with warehouse.memory() as con:
        policy.register(con, loaded)
        landed_table(con, "landed_events", "gateway", [])
        for n, call in enumerate(calls):
            row = {"event_id": f"{n:03d}", "source": "litellm-prod", "delivery_id": "d", "source_row": n, "usage_date": date(2026, 10, 2)} | call
            con.execute(f"insert into landed_events({', '.join(row)}) values ({', '.join('?' * len(row))})", list(row.values()))
        con.execute("create temp table event_losers(delivery_id varchar, source_file varchar, source_row bigint, event_id varchar)")
        con.execute(
            "create temp table model_names(usage_period varchar, provider varchar, model_as_logged varchar, model varchar,"
            " price_provider varchar, price_model varchar)"
        )
        models.make(con, EVENTS, {"period": "2026-10"})
        found = con.execute("select event_id, caller_team_id, project_id from events order by 1").fetchall()
        assert [row[0] for row in found] == [f"{n:03d}" for n in range(len(calls))]
        return [row[1:] for row in found]


def test_a_shared_key_is_divided_by_what_its_calls_say(tmp_path: Path) -> None:
    loaded = load(
        tmp_path,
        ["api_key: shared", "api_key: shared, when: {application: crawler, environment: prod}, project: search-ranking"],
        ["api_key: shared, when: {application: crawler}", "api_key: shared, when: {customer: acme, application: chat}"],
    )
    key = {"api_key_id": "shared", "gateway_team": "team-marketing"}
    assert owners(
        loaded,
        key,
        key | {"application": "crawler"},
        key | {"application": "crawler", "environment": "prod", "customer_id": "acme"},
        key | {"application": "chat", "customer_id": "acme"},
        key | {"application": "chat", "customer_id": "other"},
        key | {"application": "chat"},
        {"api_key_id": "other", "application": "crawler"},
        {"gateway_team": "team-docs", "application": "crawler"},
    ) == [
        ("search", None), ("docs", None), ("search", "search-ranking"), ("docs", None), ("search", None), ("search", None),
        ("unallocated", None), ("docs", None),
    ]  # fmt: skip


def test_a_call_that_no_condition_fits_falls_to_its_team(tmp_path: Path) -> None:
    loaded = load(tmp_path, ["api_key: shared, when: {environment: prod}"], [])
    key = {"api_key_id": "shared", "gateway_team": "team-docs"}
    assert owners(loaded, key, key | {"environment": "prod"}, {"api_key_id": "shared"}) == [("docs", None), ("search", None), ("unallocated", None)]


def test_conditions_hold_on_their_days(tmp_path: Path) -> None:
    loaded = load(
        tmp_path,
        ["api_key: shared, when: {customer: acme}, to: 2026-10-02"],
        ["api_key: shared, when: {customer: acme}, from: 2026-10-02"],
    )
    call = {"api_key_id": "shared", "customer_id": "acme"}
    assert owners(loaded, call, call | {"usage_date": date(2026, 10, 1)}) == [("docs", None), ("search", None)]


def test_an_application_may_follow_from_the_project(tmp_path: Path) -> None:
    project = next(p for p in policy.load(policy_files()).teams.projects if p.application)
    loaded = load(tmp_path, ["api_key: shared"], [f"api_key: shared, when: {{application: {project.application}}}"])
    key = {"api_key_id": "shared"}
    assert [team for team, _ in owners(loaded, key | {"project": project.id}, key | {"project": "unknown"})] == ["docs", "search"]


def test_a_project_of_the_gateway_belongs_by_its_own_name(tmp_path: Path) -> None:
    uuid = "0f3c-litellm-project"
    loaded = load(tmp_path, [f"gateway_project: {uuid}, project: search-eval, to: 2026-10-02"], [f"gateway_project: {uuid}, from: 2026-10-02"])
    call = {"project": uuid}
    before = call | {"usage_date": date(2026, 10, 1)}
    assert owners(loaded, call, before, before | {"gateway_team": "team-docs"}, {"project": "search-eval"}) == [
        ("docs", uuid), ("search", "search-eval"), ("docs", "search-eval"), ("search", "search-eval"),
    ]  # fmt: skip


AMBIGUOUS = [
    ("when: {application: a}", "when: {environment: prod}", "a call with application a and environment prod has two owners"),
    ("when: {application: a}", "when: {environment: prod, customer: acme}", "has two owners"),
    ("when: {application: a}", "when: {application: a}", "claims to api_key shared, application a, overlap"),
    ("project: search-ranking", "", "claims to api_key shared overlap"),
    ("when: {}", "", "name at least one of project, application, environment, customer"),
    ("when: {team: a}", "", "unknown key"),
]


@pytest.mark.parametrize("one, other, said", AMBIGUOUS)
def test_two_owners_of_one_call_are_refused_with_the_line(tmp_path: Path, one: str, other: str, said: str) -> None:
    with pytest.raises(PolicyRefused) as refused:
        load(tmp_path, [f"api_key: shared, {one}"], [f"api_key: shared{', ' + other if other else ''}"])
    assert any(said in str(reason) and str(reason).startswith("teams.yaml:") for reason in refused.value.reasons), refused.value.reasons


def test_claims_that_never_meet_or_contain_each_other_are_fine(tmp_path: Path) -> None:
    conditions = ["{application: a}, from: 2026-10-01", "{environment: dev}, to: 2026-10-01", "{application: b, environment: prod}"]
    nested = ["api_key: shared", "api_key: shared, when: {application: a, environment: prod}"]
    load(tmp_path, [f"api_key: shared, when: {condition}" for condition in conditions], nested)


def test_only_a_key_is_divided(tmp_path: Path) -> None:
    with pytest.raises(PolicyRefused, match="divides an api_key"):
        load(tmp_path, ["gateway_team: t, when: {environment: prod}"], [])

"""The allocation policy at load: the shipped one holds, and everything wrong is refused with its line."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipelines.allocation import rules
from pipelines.home import asset
from pipelines.yaml_file import PolicyRefused

GOOD = """\
version: 1
support_teams: [platform, observability]
cycles: reciprocal
pools:
  idle: "kind = 'idle' and cost > 0"
  platform: "kind = 'platform'"
  observability: "kind = 'observability'"
  rest: "true"
rules:
  - {id: idle-old, pool: idle, effective: {to: 2026-10-16}, method: to, to: platform}
  - {id: idle-new, pool: idle, effective: {from: 2026-10-16}, by: [cluster], method: proportional, driver: hours, fallback: [{to: platform}]}
  - {id: overhead, pool: platform, method: composite, parts: [{share: 9000, driver: seats}, {share: 1000, to: observability}]}
  - {id: watching, pool: observability, method: composite, parts: [{share: 8000, driver: gpus}, {share: 2000, to: platform}]}
  - {id: owner, pool: rest, method: direct, owner_column: owner, fallback: [{to: unallocated}]}
"""


def load(tmp_path: Path, text: str, **known: object) -> rules.AllocationPolicy:
    path = tmp_path / "allocation.yaml"
    path.write_text(text)
    return rules.load(path, **known)  # type: ignore[arg-type]


def test_the_shipped_policy_loads_and_says_every_rule_in_words() -> None:
    policy = rules.load(asset("data", "policy", "allocation.yaml"))
    told = rules.describe(policy)
    assert [(rule_id, pool) for rule_id, pool, _ in told] == [(rule.id, rule.pool) for rule in policy.rules]
    sentences = {rule_id: sentence for rule_id, _, sentence in told}
    assert sentences["own-tokens"].startswith("In proportion to metered cost of each charge_id, else")
    assert "40% in proportion to seats, 60%" in sentences["platform-overhead"]


REFUSED = [
    ("- {id: owner", "- {ide: owner", 14, "unknown key"),
    ("method: direct", "method: guess", 14, "method"),
    ("version: 1", "version: 2", 1, "version"),
    ('rest: "true"', 'rest: "cost > 0"', 8, "rest"),
    ('  rest: "true"\n', "", 4, "rest is missing"),
    ("pool: rest", "pool: remains", 14, "unknown pool remains"),
    ("fallback: [{to: unallocated}]", "fallback: [{driver: seats}]", 14, "can end without an owner"),
    (", fallback: [{to: platform}]", "", 11, "can end without an owner"),
    ("from: 2026-10-16", "from: 2026-10-17", 11, "no rule from 2026-10-16 to 2026-10-17"),
    ("from: 2026-10-16", "from: 2026-10-15", 11, "overlap"),
    ("effective: {from: 2026-10-16}, ", "", 11, "overlap"),
    ("share: 9000", "share: 8999", 12, "sum to 9999"),
    ("cycles: reciprocal", "cycles: error", 12, "to each other"),
    ("cycles: reciprocal", "cycles: step_down", 3, "needs the order"),
    ("cycles: reciprocal", "cycles: step_down\norder: [platform]", 4, "needs the order"),
    ("{share: 8000, driver: gpus}", "{share: 8000, to: platform}", None, None),
    ("driver: hours", 'driver: "@carried"', 11, "unknown driver @carried"),
    ("kind = 'idle' and", "read_text('x') = 'idle' and", 5, "not allowed"),
    ("kind = 'idle' and", "kind in (select 1) and", 5, "list of literals"),
    ("kind = 'idle' and", "kind = 'idle'; drop table x; select", 5, "one condition"),
    ("kind = 'idle' and", "kind = and", 5, "not a condition"),
    (
        "support_teams: [platform, observability]",
        "support_teams: [platform, observability, unallocated]",
        2,
        "reserved",
    ),
    ("support_teams: [platform, observability]", "support_teams: [platform, observability, network]", 2, "no pool"),
    ("id: idle-new", "id: idle-old", 11, "two rules"),
    ("method: to, to: platform}", "method: to, to: platform, driver: seats}", 10, "takes to"),
    ("cycles: reciprocal", "cycles: [", 5, ""),
]


@pytest.mark.parametrize("old, new, line, said", [r for r in REFUSED if r[2]])
def test_a_wrong_policy_is_refused_with_its_line(tmp_path: Path, old: str, new: str, line: int, said: str) -> None:
    assert old in GOOD
    with pytest.raises(PolicyRefused) as caught:
        load(tmp_path, GOOD.replace(old, new, 1))
    texts = [str(reason) for reason in caught.value.reasons]
    found = [text for text in texts if text.startswith(f"allocation.yaml:{line}") and said in text]
    assert found or (line == 5 and not said and texts[0].startswith("allocation.yaml:")), texts
    assert all("\n" not in text for text in texts)


def test_all_reasons_are_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(PolicyRefused) as caught:
        load(
            tmp_path,
            GOOD.replace("share: 9000", "share: 1")
            .replace("pool: rest", "pool: remains")
            .replace("from: 2026-10-16", "from: 2026-10-20"),
        )
    assert len(caught.value.reasons) >= 3


def test_a_group_without_a_way_out_is_refused(tmp_path: Path) -> None:
    text = GOOD.replace("driver: seats", "to: observability").replace("driver: gpus", "to: platform")
    with pytest.raises(PolicyRefused, match="only to each other"):
        load(tmp_path, text)


def test_opposite_flows_of_different_dates_are_no_cycle(tmp_path: Path) -> None:
    text = GOOD.replace("cycles: reciprocal", "cycles: error")
    watching = "  - {id: watching, pool: observability, method: composite, parts: [{share: 8000, driver: gpus}, {share: 2000, to: platform}]}\n"
    dated = (
        "  - {id: w1, pool: observability, effective: {to: 2026-10-16}, method: to, to: platform}\n"
        "  - {id: w2, pool: observability, effective: {from: 2026-10-16}, method: to, to: unallocated}\n"
    )
    overhead = "  - {id: overhead, pool: platform, method: composite, parts: [{share: 9000, driver: seats}, {share: 1000, to: observability}]}\n"
    overheads = (
        "  - {id: o1, pool: platform, effective: {to: 2026-10-16}, method: to, to: unallocated}\n"
        "  - {id: o2, pool: platform, effective: {from: 2026-10-16}, method: to, to: observability}\n"
    )
    load(tmp_path, text.replace(watching, dated).replace(overhead, overheads))


def test_known_names_are_checked_when_given(tmp_path: Path) -> None:
    load(tmp_path, GOOD, drivers={"hours", "seats", "gpus"}, teams={"search"})
    with pytest.raises(PolicyRefused, match=r"allocation\.yaml:13: rule watching: unknown driver gpus"):
        load(tmp_path, GOOD, drivers={"hours", "seats"})
    with pytest.raises(PolicyRefused, match=r"allocation\.yaml:11: rule idle-new: unknown team plattform"):
        load(tmp_path, GOOD.replace("fallback: [{to: platform}]", "fallback: [{to: plattform}]"), teams={"search"})


def test_conditions_are_written_anew_with_quoted_names() -> None:
    assert rules.predicate("Owner is null -- really").sql == '"Owner" IS NULL'
    assert rules.predicate("a not in ('x') and b between 1 and 2 or c like 'd%'").columns == {"a", "b", "c"}

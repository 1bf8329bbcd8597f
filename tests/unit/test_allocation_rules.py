"""The allocation policy at load: the shipped one holds, and everything wrong is refused with its line."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipelines import models
from pipelines.allocation import rules, words
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
    assert sentences["own-tokens"] == (
        "For each bill line, shared by metered cost at our prices; without any, by metered tokens; else it stays without an owner."
    )
    assert sentences["idle-until-mid-october"] == "Until 15 October 2026, paid by the platform team."
    assert sentences["platform-overhead"].startswith("40% shared by seats and 60% shared by what each team already carries; ")
    assert not [text for text in sentences.values() if "_" in text or "@" in text]


def test_pools_are_told_in_order_with_what_falls_into_them() -> None:
    told = rules.tell(rules.load(asset("data", "policy", "allocation.yaml")))
    pools = [line for line in told if not line.startswith(" ")]
    assert pools[0] == "1. tax: tax" and pools[-1].endswith(". rest: everything else")
    dated = told.index("   idle-until-mid-october: Until 15 October 2026, paid by the platform team.")
    assert told[dated + 1].startswith("   idle-to-users: From 16 October 2026, for each GPU cluster, ")


@pytest.mark.parametrize(
    "sql, said",
    [
        ("true", "everything else"),
        ("activity = 'gpu_idle'", "GPUs that stood idle"),
        ("kind <> 'a' and vector_index_id is not null", "the kind is not a and a vector index is named"),
        ("owner is null or service in ('x', 'y')", "no owner of the vendor project or key is named or the service is x or y"),
        ("a = 'x' and (b = 'y' or c = 'z')", "a = 'x' AND (b = 'y' OR c = 'z')"),
        ("cost > 0", "cost > 0"),
    ],
)
def test_a_simple_condition_is_said_in_words(sql: str, said: str) -> None:
    assert rules.condition(rules.predicate(sql)) == said


def test_every_driver_of_ours_brings_its_words() -> None:
    found = models.drivers()
    assert found and not [name for name, model in found.items() if not (model.called and model.unit and model.description)]
    assert words.driver("index_queries") == "searches" and words.unit("index_queries") == "Queries"
    assert words.driver("head_count") == "head count" and words.unit("head_count") == "Head Count"


REFUSED = [
    ("- {id: owner", "- {ide: owner", 14, "unknown key rules.4.ide; remove it or correct its name"),
    ("- {id: owner, pool: rest, ", "- {id: owner, ", 14, "rules.4.pool is missing"),
    ("method: direct", "method: guess", 14, "rules.4.method"),
    ("version: 1", "version: 2", 1, "version"),
    ('rest: "true"', 'rest: "cost > 0"', 8, "the pool rest is not the last one, with the condition true"),
    ('  rest: "true"\n', "", 4, "the pool rest is missing"),
    ("pool: rest", "pool: remains", 14, "unknown pool remains"),
    ("pool: rest", "pool: remains", 8, "pool rest has no rule"),
    ("fallback: [{to: unallocated}]", "fallback: [{driver: seats}]", 14, "rule owner can end without an owner"),
    (", fallback: [{to: platform}]", "", 11, "rule idle-new can end without an owner"),
    (
        "share: 1000, to: observability}]",
        "share: 1000, to: platform}]",
        12,
        "rule overhead can end without an owner",
    ),
    ("from: 2026-10-16", "from: 2026-10-17", 11, "pool idle has no rule from 2026-10-16 to 2026-10-17"),
    ("from: 2026-10-16", "from: 2026-10-15", 11, "rules idle-old and idle-new of pool idle overlap"),
    ("effective: {from: 2026-10-16}, ", "", 11, "overlap"),
    ("effective: {to: 2026-10-16}", "effective: {from: 2026-01-01, to: 2026-10-16}", 10, "no rule before 2026-01-01"),
    ("from: 2026-10-16", "from: 2026-10-16, to: 2026-12-01", 11, "pool idle has no rule from 2026-12-01"),
    ("from: 2026-10-16", "from: 2026-10-16, to: 2026-10-16", 11, "in force on no day"),
    ("from: 2026-10-16", "from: mid-october", 11, "rules.1.effective.from"),
    ("share: 9000", "share: 8999", 12, "its parts sum to 9999; make the shares sum to 10000"),
    ("share: 9000", "share: 90.5", 12, "rules.2.parts.0.share"),
    ("cycles: reciprocal", "cycles: error", 12, "platform and observability pass cost to each other"),
    ("cycles: reciprocal", "cycles: step_down", 3, "step_down needs the order"),
    ("cycles: reciprocal", "cycles: step_down\norder: [platform]", 4, "step_down needs the order"),
    ("cycles: reciprocal", "cycles: reciprocal\norder: [platform, observability]", 4, "order has no meaning"),
    ("driver: hours", 'driver: "@carried"', 11, "unknown driver @carried"),
    ("kind = 'idle' and", "read_text('x') = 'idle' and", 5, "not allowed in a condition"),
    ("kind = 'idle' and", "kind in (select 1) and", 5, "list of literals"),
    ("kind = 'idle' and", "kind = 'idle'; drop table x; select", 5, "is not one condition"),
    ("kind = 'idle' and", "kind = and", 5, "is not a condition"),
    ("kind = 'idle' and", "(" * 2000 + "kind" + ")" * 2000 + " and", 5, "is not a condition"),
    ("kind = 'idle' and", "kind = 'idle' or " * 2000, 5, "is longer than 20000 characters"),
    ("observability]\n", "observability, unallocated]\n", 2, "unallocated is a reserved name"),
    ("observability]\n", "observability, network]\n", 2, "support team network has no pool of its name"),
    ("observability]\n", "observability, platform]\n", 2, "support team platform is named twice"),
    ("id: idle-new", "id: idle-old", 11, "two rules have the id idle-old"),
    ("method: to, to: platform}", "method: to, to: platform, driver: seats}", 10, "takes to and says driver, to"),
    ("method: to, to: platform}", "method: fixed, weights: {a: 0}}", 10, "all weights are zero"),
    ("method: to, to: platform}", "method: fixed, weights: {a: -1}}", 10, "rules.0.weights.a"),
    ("method: to, to: platform}", "method: fixed, weights: {a: .inf}}", 10, "rules.0.weights.a"),
    ("cycles: reciprocal", "cycles: [", 5, "correct the YAML"),
    ("cycles: reciprocal", "cycles: reciprocal\ncycles: error", 4, 'found duplicate key "cycles"'),
    ("cycles: reciprocal", "\tcycles: reciprocal", 3, "cannot start any token"),
    # caps and cutoffs
    ("driver: hours", "driver: hours, cap: {times: 2, of: hours}", 11, "rules.1.cap.excess is missing"),
    ("driver: hours", "driver: hours, cap: {times: 0, of: hours, excess: platform}", 11, "rules.1.cap.times"),
    ("driver: hours", "driver: hours, cap: {times: 2, of: '@x', excess: platform}", 11, "unknown driver @x"),
    ("driver: hours", "driver: hours, cutoff: {below: 10001, to: platform}", 11, "rules.1.cutoff.below"),
    ("driver: hours", "driver: hours, cutoff: {below: 100}", 11, "rules.1.cutoff.to is missing"),
    ("owner_column: owner,", "owner_column: owner, cutoff: {below: 1, to: a},", 14, "cutoff on steps that name who pays"),
    ("to: platform}\n", "to: platform, cap: {times: 1, of: hours, excess: a}}\n", 10, "cap on steps that name who pays"),
    ("parts: [{share: 9000", "cutoff: {below: 1, to: a}, parts: [{share: 9000", 12, "put it on the part it is for"),
    ("driver: seats}", "driver: seats, cutoff: {below: 1, to: platform}}", 12, "platform cannot take from this pool"),
    (
        "driver: seats}",
        "driver: seats, cap: {times: 2, of: '@allocated', excess: a}}",
        12,
        "a cap between platform and observability",
    ),
]


@pytest.mark.parametrize("old, new, line, said", REFUSED)
def test_a_wrong_policy_is_refused_with_its_line(tmp_path: Path, old: str, new: str, line: int, said: str) -> None:
    assert old in GOOD
    with pytest.raises(PolicyRefused) as caught:
        load(tmp_path, GOOD.replace(old, new, 1))
    texts = [str(reason) for reason in caught.value.reasons]
    assert [text for text in texts if text.startswith(f"allocation.yaml:{line}: ") and said in text], texts
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


def test_in_a_step_down_nobody_sends_back(tmp_path: Path) -> None:
    stepped = GOOD.replace("cycles: reciprocal", "cycles: step_down\norder: [platform, observability]")
    with pytest.raises(PolicyRefused, match=r"allocation\.yaml:14: rule watching can end without an owner"):
        load(tmp_path, stepped)
    parts = "method: composite, parts: [{share: 8000, driver: gpus}, {share: 2000, to: platform}]"
    load(tmp_path, stepped.replace(parts, parts + ", fallback: [{to: unallocated}]"))
    cut = "method: proportional, driver: gpus, cutoff: {below: 50, to: platform}, fallback: [{to: unallocated}]"
    with pytest.raises(PolicyRefused, match=r"allocation\.yaml:14: .*platform cannot take from this pool"):
        load(tmp_path, stepped.replace(parts, cut))


def test_where_caps_and_cutoffs_send_counts_as_passing_cost_on(tmp_path: Path) -> None:
    """The excess of one team to another, and that one back: a cycle."""
    text = GOOD.replace("cycles: reciprocal", "cycles: error").replace("to: observability", "to: unallocated")
    load(tmp_path, text)
    capped = text.replace("driver: seats}", "driver: seats, cap: {times: 2, of: seats, excess: observability}}")
    with pytest.raises(PolicyRefused, match="platform and observability pass cost to each other"):
        load(tmp_path, capped)


def test_caps_and_cutoffs_are_told_in_words(tmp_path: Path) -> None:
    text = GOOD.replace(
        "driver: hours",
        "driver: hours, cap: {times: 1.5, of: '@allocated', excess: platform}, cutoff: {below: 50, to: other}",
    )
    text = text.replace("share: 2000, to: platform", "share: 2000, to: unallocated")
    text = text.replace("driver: seats}", "driver: seats, cap: {times: 2, of: budget_usd, excess: office}}")
    told = {rule_id: sentence for rule_id, _, sentence in rules.describe(load(tmp_path, text))}
    assert told["idle-new"] == (
        "From 16 October 2026, for each GPU cluster, shared by hours; else the platform team pays; nobody takes more than 1.5 times"
        " what each team already carries, the platform team pays the excess; the other team pays shares below 0.5%."
    )
    assert told["overhead"] == (
        "90% shared by seats (nobody takes more than 2 times budget usd, the office team pays the excess) and 10% paid by the"
        " observability team. The same holds for what other rules send to this team."
    )


def test_anchors_and_merges_are_read_as_what_they_stand_for(tmp_path: Path) -> None:
    text = GOOD.replace("fallback: [{to: platform}]", "fallback: &end [{to: platform}]")
    shared = text.replace("share: 1000, to: observability}]", "share: 1000, to: observability}], fallback: *end")
    policy = load(tmp_path, shared.replace("[{to: platform}]", "[{to: unallocated}]"))
    assert [step.name for step in policy.rules[2].parts[0].chain] == ["seats", "unallocated"]


def test_five_hundred_rules_load(tmp_path: Path) -> None:
    pools = "".join(f"  p{i}: \"kind = 'k{i}'\"\n" for i in range(500))
    lines = "".join(
        f"  - {{id: r{i}, pool: p{i}, method: proportional, driver: hours, fallback: [{{to: unallocated}}]}}\n"
        for i in range(500)
    )
    policy = load(tmp_path, GOOD.replace("  rest:", pools + "  rest:").replace("  - {id: owner", lines + "  - {id: owner"))
    assert len(policy.rules) == 505 and len(rules.describe(policy)) == 505


def test_known_names_are_checked_when_given(tmp_path: Path) -> None:
    load(tmp_path, GOOD, drivers={"hours", "seats", "gpus"}, teams={"search"})
    with pytest.raises(PolicyRefused, match=r"allocation\.yaml:13: rule watching: unknown driver gpus"):
        load(tmp_path, GOOD, drivers={"hours", "seats"})
    with pytest.raises(PolicyRefused, match=r"allocation\.yaml:11: rule idle-new: unknown team plattform"):
        load(tmp_path, GOOD.replace("fallback: [{to: platform}]", "fallback: [{to: plattform}]"), teams={"search"})


def test_conditions_are_written_anew_with_quoted_names() -> None:
    assert rules.predicate("Owner is null -- really").sql == '"Owner" IS NULL'
    assert rules.predicate("a not in ('x') and b between 1 and 2 or c like 'd%'").columns == {"a", "b", "c"}

"""The policy files: the shipped ones hold, the template holds, and everything wrong is refused with file and line."""

from __future__ import annotations

import re
import shutil
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from pipelines import policy, warehouse
from pipelines.errors import Refused
from pipelines.policy import FILES, Period, prose
from pipelines.policy.edits import edits
from pipelines.policy.tables import COLUMNS
from pipelines.sample import policy_files
from pipelines.yaml_file import PolicyRefused, read


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return Path(shutil.copytree(policy_files(), tmp_path / "policy"))


def refusals(folder: Path) -> list[str]:
    with pytest.raises(PolicyRefused) as caught:
        policy.load(folder)
    lines = [str(reason) for reason in caught.value.reasons]
    assert all("\n" not in line and ";" in line for line in lines), lines
    return lines


def replaced(path: Path, old: str, new: str) -> int:
    """Write `new` for the first `old` of a file; returns the line on which it stands."""
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    return text[: text.index(old)].count("\n") + 1


REFUSED = [
    ("company", "currency: USD", "currency: usd", "ISO 4217"),
    ("company", "first_period: 2026-09", "first_period: 2026-13", "first_period"),
    ("company", "ends_on: 2026-10-31", "ends_on: 2026-10-32", "2026-10-32 is no date; write a day of the calendar"),
    ("teams", "{id: CC-5100, from: 2026-10-16}", "{id: CC-5100, from: 2026-02-30}", "2026-02-30 is no date"),
    ("company", "country: IE", "country: Ireland", "country"),
    ("company", "{id: CC-4200, name: Operations, legal_entity: LKF-US}", "{id: CC-4200, name: Operations, legal_entity: LKF-UK}", "unknown legal entity LKF-UK"),
    ("company", "platform_team: platform", "platform_team: plattform", "unknown team plattform"),
    ("company", "ends_on: 2026-10-31", "ends_on: 2026-08-31", "ends before the first period"),
    ("teams", "version: 1", "version: 2", "version"),
    ("teams", "{id: CC-5100, from: 2026-10-16}", "{id: CC-5100, from: 2026-10-17}", "nothing holds from 2026-10-16 to 2026-10-17"),
    ("teams", "{id: CC-5100, from: 2026-10-16}", "{id: CC-5100, from: 2026-10-15}", "overlap"),
    ("teams", "{id: CC-4100, to: 2026-10-16}", "{id: CC-4100, from: 2026-10-01, to: 2026-10-16}", "nothing holds before 2026-10-01"),
    ("teams", "{gateway_team: team-docs}", "{gateway_team: team-search}", "claims to gateway_team team-search overlap"),
    ("teams", "{gateway_team: team-docs}", "{gateway_team: team-docs, api_key: k}", "exactly one"),
    ("teams", "{gateway_team: team-docs}", "{gateway_team: team-docs, from: 2026-10-02, to: 2026-10-01}", "holds on no day"),
    ("teams", "{id: docs-extraction, team: docs,", "{id: docs-extraction, team: dogs,", "unknown team dogs"),
    ("teams", "  - id: docs\n", "  - id: search\n", "two teams are called search"),
    ("teams", "  - id: docs\n", "  - id: unallocated\n", "reserved"),
    ("teams", "mode: showback", "mode: showoff", "mode"),
    ("teams", "output: 4}", "output: -4}", "output"),
    ("sources", "format: koku_gpu", "format: nvml", "unknown format nvml"),
    ("teams", "{gateway_team: team-search}", '{gateway_team: team-search, principal: "arn:*"}', "name exactly one of"),
    ("sources", "format: koku_gpu", "format: focus", "reads billing files, not gpu"),
    ("sources", "{vllm-prod: llama-pool}", "{vllm-prod: lama-pool}", "unknown serving pool lama-pool"),
    ("sources", "- name: anthropic\n", "- name: openai\n", "two billing sources are called openai"),
    ("sources", "- name: anthropic\n", "- name: ../anthropic\n", "name"),
    ("sources", "    cluster: batch\n", "    cluster: serving\n", "two sources of record for cluster serving"),
    ("sources", "activity: platform}", "activity: platforms}", "activity"),
    ("sources", "activity: storage, vector_index_id: contracts}", "activity: storage, vector_index_id: contract}", "unknown vector index contract"),
    ("sources", "      event_id: id\n", "      event_id: {column: id, value: x}\n", "name a column"),
    ("contracts", 'percent: "7.5"', 'percent: "107.5"', "percent"),
    ("contracts", "meter: output", "meter: outputs", "meter"),
    ("contracts", 'rate: "1.85", provider: larkfield-dc,', 'rate: "1.85",', "needs the provider"),
    ("budgets", "team: search,", "team: serch,", "unknown team serch"),
    ("budgets", "gpu_stranded, gpu_idle]", "gpu_stranded, gpu_idel]", "unknown pool gpu_idel"),
    ("budgets", "id: assistant,", "id: search,", "two budgets are called search"),
    ("budgets", "  - id: idle-gpus                     # first come, first served\n    kind: pooled\n    team: [risk, docs, data-science]", "  - {id: idle-gpus, kind: pooled, team: risk, amount: 1}\n  - id: x\n    team: risk", "needs two teams"),
    ("budgets", "- {id: search, team: search,", "- {id: search, kind: usage, team: search,", "belongs to the kind usage"),
    ("budgets", "thresholds: [50, 80, 95, 100]", "thresholds: [50, 50]", "the same percent"),
    ("budgets", 'amount: "6500"', 'amount: "-6500"', "amount"),
    ("budgets", "id: ticket,", "id: contract,", "two units are called contract"),
    ("budgets", 'alternative: "6.50", baseline', 'alternative: "6.50", alternative_metric: human_cost, baseline', "not both"),
    ("budgets", "metric: customers, application: shopping-assistant}", "metric: customers, team: asistant}", "unknown team asistant"),
    ("budgets", "metric: customers", "metric: Customers", "metric"),
    ("budgets", "instead: {serving_pool: llama-pool}", "instead: {serving_pool: lama-pool}", "unknown serving pool lama-pool"),
    ("budgets", "instead: {serving_pool: llama-pool}", "instead: {model: gpt-5}", "name a provider and its model"),
    ("budgets", "model: claude-opus-4-1, team: risk", "model: claude-opus-4-1, team: risks", "unknown team risks"),
    ("budgets", 'models: "gpt-5*", percent: "12"', 'models: "gpt-5*", percent: "0"', "percent"),
    ("budgets", 'percent: "12", from: 2026-10-01', 'percent: "12", from: 2026-10-01, to: 2026-10-01', "holds on no day"),
    ("budgets", "{documents: new, project: docs-embeddings}", "{documents: new}", "say which calls"),
    ("budgets", "{documents: again,", "{documents: often,", "embeddings.0.documents"),
    ("budgets", "{documents: again, request_type: batch}", "{documents: again, request_type: batch, from: 2026-10-02, to: 2026-10-01}", "holds on no day"),
    ("budgets", "{team: assistant, factor:", "{team: assistent, factor:", "unknown team assistent"),
    ("alerts", "calls: 100", "calls: 1", "call_loop.calls"),
    ("alerts", "call_loop:", "call_loops:", "unknown key call_loops"),
    ("alerts", "tokens: 30000000", "tokens: 0", "tokens"),
    ("alerts", "hours: 1,", "hours: 1, percents: 5,", "unknown key gpu_idle.percents"),
    ("alerts", "gpu_queue: {minutes: 1440, jobs: 5}", "gpu_queue: {minutes: 0}", "gpu_queue.minutes"),
    ("alerts", "gpu_queue: {minutes: 1440, jobs: 5}", "gpu_queue: {jobs: 0}", "gpu_queue.jobs"),
    ("alerts", "gpu_queue: {minutes: 1440, jobs: 5}", "gpu_queue: {calls: 5}", "unknown key gpu_queue.calls"),
    ("alerts", "version: 1", "version: 1\nchannels: [{id: a, url_from: https://hooks.example/secret, actions: chat}]", "url_from"),
    ("alerts", "version: 1", "version: 1\nchannels: [{id: a, url_from: A, actions: chat, kinds: [loop]}]", "no kind of alert is called loop"),
    ("alerts", "version: 1", "version: 1\nchannels: [{id: a, url_from: A, actions: chat}, {id: a, url_from: B, actions: mail}]", "two channels are called a"),
    ("alerts", "version: 1", "version: 1\nchannels: [{id: a, url_from: A, actions: note}]", "channels.0.actions"),
    ("rate_card", "covers: {serving_pool: llama-pool}", "covers: {serving_pool: pool}", "unknown serving pool pool"),
    ("rate_card", "meter: cache_read", "meter: input_uncached", "rates for input_uncached of llama-pool overlap"),
    ("rate_card", "meter: cache_read", "meter: tokens", "rates for input_uncached and tokens of llama-pool overlap"),
    ("rate_card", 'rate: "0.60"', 'rate: ".nan"', "rate"),
    ("rate_card", "covers: {serving_pool: llama-pool}", "covers: {serving_pool: llama-pool, cluster: batch}", "name exactly one of"),
    ("rate_card", "covers: {serving_pool: llama-pool}", "covers: {provider: openai}", "a model is named with its provider"),
    ("rate_card", "unit: 1M tokens", "unit: query", "input_uncached cannot be sold per query; use token, 1K tokens, 1M tokens"),
    ("accounts", "  query:", "  queries:", "queries"),
    ("accounts", '"6215-30"', '"=6215"', "expense.query"),
    ("accounts", "  LKF-IE: CC-5100", "  LKF-IE: CC-4100", "CC-4100 is no cost center of LKF-IE"),
    ("accounts", "  - quickbooks", "  - sap", "sap is named twice"),
    ("accounts", "{LKF-US: \"1000\"", "{LKF-UK: \"1000\"", "unknown legal entity LKF-UK"),
    ("accounts", ", LKF-IE: \"300000046975972\"", "", "oracle knows no ledger of LKF-IE"),
    ("accounts", "environment: research, account", "account", "name an environment"),
    ("accounts", "environment: research,", "legal_entity: LKF-UK,", "unknown legal entity LKF-UK"),
    ("close", 'true_up_bound: "1.10"', 'true_up_bound: "0.9"', "true_up_bound"),
    ("close", "version: 1", "version: 1\nversion: 1", "duplicate key"),
    ("close", "approvals: none", "approvals: two", "approvals"),
    ("close", "  days: 10 ", "  days: -1 ", "disputes.days"),
    ("close", "accrued_percent: \"10\"", "accrued_percent: \"101\"", "accrued_percent"),
    ("close", "version: 1", "version: 1\nmateriality: {amount: \"-1\"}", "materiality.amount"),
    ("company", "  first_period:", "  periods: []\n  first_period:", "calendar.periods"),
]  # fmt: skip


SHORT = {
    "<gpt>": "service: GPT-5, covers: {provider: openai, model: gpt-5}, unit: 1M tokens, rate: 1",
    "<hours>": "service: GPUs, covers: {cluster: batch}, meter: gpu_hours, rate: 1",
}
REFUSED_CARDS = [  # lines of the card, the line of the file that is refused, and why
    (["{id: a, <gpt>, meter: output}"], 3, "not every token of openai gpt-5 has a rate"),
    (["{id: a, <gpt>, meter: output}", "{id: b, <gpt>, meter: input, to: 2026-10-01}"], 3, "not every token of openai gpt-5 has a rate"),
    (["{id: a, <gpt>, meter: tokens}", "{id: b, <gpt>, meter: cache_read}"], 4, "rates for tokens and cache_read of openai gpt-5 overlap"),
    (["{id: a, <gpt>, meter: input}", "{id: b, service: GPT, covers: {provider: openai, model: gpt-5}, meter: output, unit: 1M tokens, rate: 1}"], 4, "openai gpt-5 is sold as GPT-5 and as GPT"),
    (["{id: a, service: GPUs, covers: {cluster: batch}, meter: tokens, unit: 1M tokens, rate: 1}"], 3, "tokens of batch cannot be sold; use gpu_hours"),
    (["{id: a, <gpt>, meter: tokens, teams: [{team: nobody, rate: 1}]}"], 3, "unknown team nobody"),
    (["{id: a, <gpt>, meter: tokens, teams: [{team: docs, rate: 1}, {team: docs, rate: 2, from: 2026-10-01}]}"], 3, "rates of a for docs overlap"),
    (["{id: a, <gpt>, meter: tokens, to: 2026-10-01, from: 2026-10-01}"], 3, "holds on no day"),
    (["{id: a, <hours>, unit: equivalent GPU-hour}"], 3, "no equivalent of A100, which stands in batch"),
    (["{id: a, service: GPUs, covers: {cluster: bach}, meter: gpu_hours, unit: GPU-hour, rate: 1}"], 3, "unknown cluster bach"),
    (["{id: a, service: S, covers: {vector_index: catalogue}, meter: queries, unit: query, rate: 1}"], 3, "unknown vector index catalogue"),
    (["{id: a, service: S, covers: {vector_index: catalog}, meter: queries, unit: query, rate: 1}",
      "{id: b, service: S, covers: {vector_indexes: all, provider: pinecone}, meter: read_units, unit: 1M read units, rate: 1}"], 4, "overlap"),
    (["{id: a, service: S, covers: {vector_index: catalog, provider: aws}, meter: gb_months, unit: GB-month, rate: 1}",
      "{id: b, service: S, covers: {vector_indexes: all}, meter: gb_months, unit: GB-month, rate: 1}"], 4, "rates for gb_months of all vector indexes overlap"),
]  # fmt: skip


def write_card(folder: Path, lines: list[str], before: str = "") -> None:
    text = f"version: 1\n{before}lines:\n" + "\n".join(f"  - {line}" for line in lines) + "\n"
    for short, long in SHORT.items():
        text = text.replace(short, long)
    (folder / "rate_card.yaml").write_text(text)


@pytest.mark.parametrize("lines, at, said", REFUSED_CARDS)
def test_what_is_wrong_with_a_rate_card_is_refused_with_its_line(folder: Path, lines: list[str], at: int, said: str) -> None:
    write_card(folder, lines)
    found = refusals(folder)
    assert any(text.startswith(f"rate_card.yaml:{at}:") and said in text for text in found), found


def test_rates_may_follow_each_other_and_divide_a_thing_between_them(folder: Path) -> None:
    lines = [
        "{id: a, <gpt>, meter: tokens, to: 2026-10-01}", "{id: b, <gpt>, meter: input, from: 2026-10-01}", "{id: c, <gpt>, meter: output, from: 2026-10-01}",
        "{id: d, <gpt>, meter: cache_read, from: 2026-10-01, teams: [{team: docs, rate: '0.5', to: 2026-11-01}, {team: docs, rate: 2, from: 2026-11-01}]}",
        "{id: e, <hours>, unit: equivalent GPU-hour}",
        "{id: f, service: S, covers: {vector_index: catalog}, meter: queries, unit: query, rate: 1}",
        "{id: g, service: T, covers: {vector_indexes: all, provider: pinecone}, meter: gb_months, unit: GB-month, rate: 1}",
        "{id: h, service: U, covers: {vector_indexes: all, provider: aws}, meter: gb_months, unit: GB-month, rate: 2}",
    ]  # fmt: skip
    equivalents = "gpu_equivalents:\n  - {gpus: {A100: 1}, to: 2026-10-01}\n  - {gpus: {A100: 1, H100: 2.5}, from: 2026-10-01}\n"
    write_card(folder, lines, equivalents)
    con = warehouse.memory()
    policy.register(con, policy.load(folder))
    assert con.execute("select covers, count(*) from policy_rate_card group by all order by all").fetchall() == [("cluster", 1), ("model", 4), ("vector_index", 3)]
    assert con.execute("select equivalent::varchar from policy_gpu_equivalents where gpu_model = 'H100'").fetchall() == [("2.500000",)]
    told = [sentence for _, _, sentence in prose.sentences(policy.load(folder))]
    wanted = (
        "Sold: cached input of GPT-5 at 1 USD per 1M tokens from 1 October 2026; the docs team pays 0.5 USD per 1M tokens until 31 October 2026;"
        " the docs team pays 2 USD per 1M tokens from 1 November 2026."
    )
    assert wanted in told
    (folder / "rate_card.yaml").write_text("version: 1\ngpu_equivalents: {H100: 2.5}\n")
    assert any("one of the cards counts as 1" in text for text in refusals(folder))


@pytest.mark.parametrize("file, old, new, said", REFUSED)
def test_what_is_wrong_is_refused_with_its_line(folder: Path, file: str, old: str, new: str, said: str) -> None:
    path = folder / f"{file}.yaml"
    line = replaced(path, old, new)
    found = refusals(folder)
    near = [f"{file}.yaml:{n}:" for n in range(line, line + 3)]
    assert any(said in text and text.startswith(tuple(near)) for text in found), (line, found)


def test_everything_wrong_is_told_at_once(folder: Path) -> None:
    replaced(folder / "teams.yaml", "cost_center: CC-4200", "cost_center: CC-1")
    replaced(folder / "company.yaml", "platform_team: platform", "platform_team: nobody")
    replaced(folder / "allocation.yaml", "share: 4000", "share: 4001")
    assert {text.split(":")[0] for text in refusals(folder)} == {"teams.yaml", "company.yaml", "allocation.yaml"}


def test_two_bills_of_one_account_need_dates(folder: Path) -> None:
    sources = folder / "sources.yaml"
    focus = "\n  - {name: openai-focus, format: focus, provider: openai, billing_account_id: org-larkfield, legal_entity: LKF-US%s}\n\ngpu:"
    before = sources.read_text()
    sources.write_text(before.replace("\ngpu:", focus % "", 1))
    assert any("two sources of record for openai org-larkfield" in text for text in refusals(folder))
    dated = before.replace("\ngpu:", focus % ", record: {from: 2026-11-01}", 1)
    sources.write_text(dated.replace("    final_after_days: 5\n", "    final_after_days: 5\n    record: {to: 2026-11-01}\n", 1))
    assert len(policy.load(folder).sources.billing) == 6


def test_what_a_list_of_gpu_holders_must_map(folder: Path) -> None:
    sources = folder / "sources.yaml"
    before = sources.read_text()
    entry = """
gpu:
  - name: runai
    format: mapped_gpu
    file: csv
    cluster: lab
    fields:
      interval_start: start
      seconds: run
      team: project
      gpus: cards
"""
    sources.write_text(before.replace("\ngpu:\n", entry, 1))
    assert policy.load(folder).sources.gpu[0].cluster == "lab"
    line = replaced(sources, "      team: project", "      prompt: project")
    assert [text for text in refusals(folder) if text.startswith(f"sources.yaml:{line}: unknown field prompt")]
    assert any("field holder or team is missing" in text for text in refusals(folder))
    replaced(sources, "    file: csv\n    cluster: lab", "    cluster: lab")
    assert any("needs `file`" in text for text in refusals(folder))


def test_a_model_servers_counters_stand_beside_the_cluster_that_it_runs_on(folder: Path) -> None:
    entry = "\ngpu:\n  - {name: counters, format: vllm, cluster: serving, serving: {llama-3.3-70b: llama-pool}}\n"
    line = replaced(folder / "sources.yaml", "\ngpu:\n", entry) + 2
    with warehouse.memory() as con:
        policy.register(con, policy.load(folder))
        assert ("counters", "llama-3.3-70b", "llama-pool") in con.execute("from policy_serving_models").fetchall()
    replaced(folder / "sources.yaml", "llama-3.3-70b: llama-pool", "llama-3.3-70b: lama-pool")
    assert any(text.startswith(f"sources.yaml:{line}: unknown serving pool lama-pool") for text in refusals(folder))


def test_an_allocation_rule_names_a_team_that_exists(folder: Path) -> None:
    replaced(folder / "allocation.yaml", "method: to, to: unallocated}", "method: to, to: finance}")
    assert any("unknown team finance" in text for text in refusals(folder))


@pytest.mark.parametrize("name", ["team.yaml", "teams.yml"])
def test_a_misnamed_file_is_refused(folder: Path, name: str) -> None:
    (folder / name).write_text("version: 1\n")
    assert any(text.startswith(name) for text in refusals(folder))


@pytest.mark.parametrize("content", [b"\xff\xfe", b"- a\n", b"", b"\x00"])
def test_what_is_no_policy_is_refused(folder: Path, content: bytes) -> None:
    (folder / "close.yaml").write_bytes(content)
    assert any(text.startswith("close.yaml") for text in refusals(folder))


def test_a_missing_file_is_named(folder: Path) -> None:
    (folder / "teams.yaml").unlink()
    assert any(text.startswith("teams.yaml") for text in refusals(folder))


def test_optional_files_may_be_missing(folder: Path) -> None:
    for name in ("rate_card", "accounts", "close"):
        (folder / f"{name}.yaml").unlink()
    assert policy.load(folder).rate_card.lines == []


def test_a_map_of_a_bill_is_refused_by_line(folder: Path) -> None:
    source = """  - name: reseller
    format: mapped_bill
    provider: reseller
    legal_entity: LKF-US
    fields:
      billing_account_id: {value: a}
      day: Date
      cost: Cost
      %s
"""
    text = (folder / "sources.yaml").read_text()
    line = text[: text.index("  - name: google")].count("\n") + 1
    for field, said in (
        ("prompt: Text", f"sources.yaml:{line + 8}: unknown field prompt"),
        ("sku_meter: Item", f"sources.yaml:{line + 4}: field currency is missing"),
    ):
        (folder / "sources.yaml").write_text(text.replace("  - name: google", source % field + "\n  - name: google"))
        assert any(said in reason for reason in refusals(folder)), refusals(folder)
    (folder / "sources.yaml").write_text(text.replace("  - name: google", source % "currency: {value: USD}" + "\n  - name: google"))
    assert len(policy.load(folder).sources.billing) == 6
    bare = "\nusage:\n  - {name: openai-usage, format: openai_usage, provider: openai}\n\ngpu:"
    (folder / "sources.yaml").write_text(text.replace("\ngpu:", bare))
    assert any("openai-usage: its files name no account" in reason for reason in refusals(folder))


MORE_CONTRACTS = """
volume_tiers:
  - {id: v, provider: openai, model: gpt-5, meter: output, mode: flat, tiers: [{up_to: 1000, per_million: "9"}, {per_million: "8"}]}
throughput:
  - {id: t, provider: aws, lines: {sku_meter: Provisioned*}, covers: {}, tokens_per_unit_hour: 1000}
minimums:
  - {id: m, provider: pinecone, lines: {sku_meter: Plan Minimum}, amount: "1600"}

gpu_capacity:"""


def test_every_table_is_made_and_numbers_keep_their_digits(folder: Path) -> None:
    replaced(folder / "contracts.yaml", "\ngpu_capacity:", MORE_CONTRACTS)
    replaced(folder / "contracts.yaml", 'percent: "7.5"', "percent: 7.123456")
    replaced(folder / "contracts.yaml", 'rate: "1.85"', 'rate: "1.850000000001"')
    usage = "\nusage:\n  - {name: openai-usage, format: openai_usage, provider: openai, billing_account_id: org-larkfield}\n\ngpu:"
    replaced(folder / "sources.yaml", "\ngpu:", usage)
    replaced(folder / "rate_card.yaml", 'rate: "0.60"', 'rate: "0.60"\n    teams: [{team: docs, rate: "0.50"}]')
    replaced(folder / "rate_card.yaml", "lines:", "gpu_equivalents: {A100: 1}\nlines:")
    replaced(folder / "alerts.yaml", "version: 1", "version: 1\nchannels: [{id: chat, url_from: CHAT_URL, actions: chat}]")
    con = warehouse.memory()
    policy.register(con, policy.load(folder))
    assert all(con.execute(f"select count(*) > 0 from policy_{name}").fetchall() == [(True,)] for name in COLUMNS)
    assert con.execute("select percent::varchar from policy_discounts where provider = 'aws'").fetchall() == [("7.123456",)]
    assert con.execute("select rate::varchar from policy_gpu_capacity where cluster = 'batch' and rate is not null").fetchall() == [("1.850000000001",)]
    assert con.execute("select per_token::varchar from policy_private_prices").fetchall() == [("0.000001800000",)]
    policy.register(con, policy.load(folder))  # again, in place of the first


def test_text_of_the_policy_is_only_data(folder: Path) -> None:
    name = "Robert'); drop table policy_teams; --"
    replaced(folder / "teams.yaml", "name: Risk & Fraud", f'name: "{name}"')
    con = warehouse.memory()
    policy.register(con, policy.load(folder))
    assert con.execute("select name from policy_teams where team_id = 'risk'").fetchall() == [(name,)]


def test_the_template_is_a_policy(tmp_path: Path) -> None:
    written = policy.write_template(tmp_path / "policy", "2026-11")
    assert {path.name for path in written} == {path.name for path in policy_files().glob("*.yaml")}
    loaded = policy.load(tmp_path / "policy")
    assert loaded.company.calendar.first_period == "2026-11"
    with pytest.raises(Refused, match="2026-99 is not a month"):
        policy.write_template(tmp_path / "other", "2026-99")


@pytest.mark.parametrize("name", ["teams", "sources", "contracts", "rate_card", "accounts", "budgets", "alerts"])
def test_what_the_template_shows_in_comments_is_read(tmp_path: Path, name: str) -> None:
    """The examples, uncommented, are a valid file."""
    policy.write_template(tmp_path / "policy", "2026-11")
    path = tmp_path / "policy" / f"{name}.yaml"
    text = re.sub(r"(?m)^# (?=[ \-{a-z])", "", path.read_text())  # examples are in lower case, sentences are not
    path.write_text(text)
    read(path, FILES[name])


def test_periods_and_working_days(folder: Path) -> None:
    replaced(folder / "company.yaml", "soft_close_working_day: 2", "soft_close_working_day: 3\n  holidays: [2027-01-01, 2027-01-04]")
    loaded = policy.load(folder)
    periods = loaded.periods(date(2026, 12, 1))
    assert [p.label for p in periods] == ["2026-09", "2026-10", "2026-11", "2026-12"]
    assert periods[-1] == Period("2026-12", date(2026, 12, 1), date(2027, 1, 1))
    assert loaded.soft_close_day(periods[-1]) == date(2027, 1, 7)  # Friday and Monday are holidays, the weekend is between
    assert loaded.soft_close_day(periods[0]) == date(2026, 10, 5)
    with pytest.raises(Refused, match="the first is 2026-09"):
        loaded.periods(date(2026, 8, 31))


def test_a_fingerprint_changes_with_its_own_files_only(folder: Path) -> None:
    before = policy.load(folder)
    replaced(folder / "accounts.yaml", '"6215-10"', '"6215-11"')
    after = policy.load(folder)
    assert before.fingerprint != after.fingerprint
    assert before.fingerprint_of(["teams", "sources"]) == after.fingerprint_of(["teams", "sources"])


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('  query: "6215-30"\n', "", "25: journals need an account for expense.query"),
        ('due_to: "2310-00"', "", "journals need an account for due_to"),
        ("  LKF-IE: CC-5100", "", "no cost center takes the recovery of LKF-IE, which buys"),
        ("  - {activity: training, environment: research,", '  - {activity: training, environment: research, account: "1"}\n  - {activity: training, environment: research,', "two accounts for training research"),
    ],
)
def test_journals_need_every_account(folder: Path, old: str, new: str, said: str) -> None:
    path = folder / "accounts.yaml"
    replaced(path, old, new)
    if "LKF-IE: CC-5100" in old:
        replaced(path, "recovery_cost_centers:                # of a legal entity that buys and has no platform\n", "")
    assert any(text.startswith("accounts.yaml") and said in text for text in refusals(folder))
    path.write_text("version: 1\n")
    assert policy.load(folder).accounts.journals == []
SEPTEMBER = Period("2026-09", date(2026, 9, 1), date(2026, 10, 1))


@pytest.mark.parametrize(
    "name, old, new, found",
    [
        ("contracts", 'rate: "1.85"', 'rate: "1.95"', [("contracts.yaml", 1, "gpu capacity")]),
        ("teams", "2026-10-16}", "2026-10-20}", []),  # after the month
        ("accounts", '"6215-10"', '"6215-11"', []),  # decides no figure
        ("allocation", "rules:\n", "# a comment moves every line\nrules:\n", []),
    ],
)
def test_an_edit_is_told_from_what_a_month_was_closed_under(folder: Path, name: str, old: str, new: str, found: list[Any]) -> None:
    closed = policy.load(folder)
    path = folder / f"{name}.yaml"
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))
    told = list(edits(closed, policy.load(folder), SEPTEMBER))
    assert [(edit.file, edit.entries) for edit in told] == [(file, entries) for file, entries, _ in found]
    assert all(edit.example.startswith(words) for edit, (_, _, words) in zip(told, found, strict=True))


def test_the_same_files_are_read_once_and_a_changed_one_again(tmp_path: Path) -> None:
    policy.write_template(tmp_path / "a", "2026-09")
    policy.write_template(tmp_path / "b", "2026-09")
    first = policy.load(tmp_path / "a")
    assert policy.load(tmp_path / "b") is first
    close = tmp_path / "b" / "close.yaml"
    close.write_text("version: 1\napprovals: required\n")
    assert policy.load(tmp_path / "b").close.approvals == "required" and policy.load(tmp_path / "a") is first
    close.write_text("version: 1\napprovals: perhaps\n")
    for _ in range(2):
        with pytest.raises(Refused, match=r"close\.yaml:2"):
            policy.load(tmp_path / "b")

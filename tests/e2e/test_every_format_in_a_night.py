"""One night over a file of every format that is no gateway: what each said is published under its source, and every bill to the last digit."""

from __future__ import annotations

import json
from collections import defaultdict
from datetime import date
from decimal import Decimal
from typing import Any

import duckdb
import pytest

from pipelines import jobs
from pipelines.home import Home
from pipelines.sources import KINDS, registry
from tests.closing import few_rows
from tests.conftest import empty_home, quiet
from tests.formats import samples

NIGHT = date(2026, 11, 4)
YUAN = b"2026-09,CNY,0.14,ECB\n2026-10,CNY,0.14,ECB\n2026-11,EUR,1.2,ECB\n"
OTHERS = [name for name, module in registry.READERS.items() if ".gateway." not in module]
OF_KIND = {kind: [name for name in OTHERS if registry.find(name).kind == kind] for kind in KINDS}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    """A source for each format, each with an account or a cluster of its own."""
    entries: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for name in OTHERS:
        own = {"name": name.replace("_", "-"), "format": name, "provider": f"seller-{name}", "legal_entity": "MAIN", "cluster": f"cluster-{name}"}
        said = {key: value for key, value in samples()[name].entry.items() if value is not None and key not in ("scope", "serving_namespaces", "serving", "activities")}
        if said.get("billing_account_id") == "acct":
            own["billing_account_id"] = f"acct-{name}"
        entries[KINDS[samples()[name].kind]].append({**said, **{key: value for key, value in own.items() if key in said or key in ("name", "format")}})
    made = empty_home(tmp_path_factory.mktemp("formats"), json.dumps({"version": 1, **entries}, default=vars))
    for name in OTHERS:
        valid = samples()[name]
        path = made.landing / valid.kind / name.replace("_", "-") / valid.name
        path.parent.mkdir(parents=True)
        own = valid.data.replace(b"acct", f"acct-{name}".encode())
        path.write_bytes({"billing": own, "usage": own, "fx": valid.data + YUAN}.get(valid.kind, valid.data))
        if valid.listed:
            path.with_name("x-Manifest.json").write_bytes(valid.manifest("r"))
    with pytest.MonkeyPatch.context() as patched:
        few_rows(patched)
        report = jobs.nightly(made, NIGHT, quiet)
    assert [str(refused) for refused in report.refused] == []
    return made


def rows(home: Home, sql: str, *values: Any) -> list[tuple[Any, ...]]:
    with duckdb.connect(str(home.current), read_only=True) as con:
        return con.execute(sql, values).fetchall()


def test_every_file_landed_with_rows(home: Home) -> None:
    found = dict(rows(home, "select format, sum(good)::bigint from source_files where state = 'landed' group by all"))
    assert found.keys() == set(OTHERS) and min(found.values()) > 0


@pytest.mark.parametrize("name", OF_KIND["billing"])
def test_a_bill_is_carried_to_the_last_digit(home: Home, name: str) -> None:
    ((file,),) = rows(home, "select lake_file from source_files where format = ? and state = 'landed' and good > 0", name)
    with duckdb.connect() as con:
        said = dict(con.execute("select billing_currency, sum(billed_cost) from read_parquet(?) group by all", [str(home.lake / file)]).fetchall())
    source = name.replace("_", "-")
    assert said and said == dict(rows(home, "select billing_currency, sum(billed_cost) from bill_lines where source = ? group by all", source))
    charged = "select sum(l.billed_cost) from ledger l join charges c using (charge_id) where c.provider = ?"
    if said.keys() == {"USD"}:
        assert rows(home, charged, f"seller-{name}") == [(sum(said.values(), Decimal(0)),)]


@pytest.mark.parametrize("name", OF_KIND["usage"])
def test_usage_that_a_vendor_reports_is_evidence(home: Home, name: str) -> None:
    assert rows(home, "select sum(provider_quantity) > 0 from usage_evidence where provider = ?", f"seller-{name}") == [(True,)]


@pytest.mark.parametrize("name", [name for name in OF_KIND["gpu"] if name != "vllm"])
def test_what_gpus_did_is_known_by_the_hour(home: Home, name: str) -> None:
    assert rows(home, "select sum(gpu_seconds) > 0 from gpu_hourly where cluster = ?", f"cluster-{name}") == [(True,)]


def test_a_model_servers_counters_hold_no_card(home: Home) -> None:
    assert rows(home, "select count(*) from gpu_hourly where cluster = 'cluster-vllm'") == [(0,)]

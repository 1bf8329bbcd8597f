"""Drivers and exchange rates kept by hand: exact weights, keys as JSON, and a bad row refuses the file by its record."""

from __future__ import annotations

import gzip
import json
from datetime import date
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.errors import Refused
from pipelines.sample.company import SEATS
from pipelines.sample.writers import drivers, invoices, outcomes
from pipelines.sources import SHAPES, Delivery, Format
from pipelines.sources.drivers import drivers_csv, fx_csv, invoices_csv, outcomes_csv


def read(format_: Format, path: Path) -> list[tuple[Any, ...]]:
    with duckdb.connect() as con:
        format_.read(con, Delivery("id", format_.kind, "finance", (path,), 0, 0), SimpleNamespace(name="finance"))
        types = dict(con.execute("select column_name, column_type from (describe parsed)").fetchall())
        assert types == {**SHAPES[format_.kind], "source_row": "BIGINT", "reject": "VARCHAR"}
        return con.execute("select * exclude (reject) from parsed where reject is null order by source_row").fetchall()


def refusal(format_: Format, path: Path, text: str) -> str:
    path.write_text(text)
    with pytest.raises(Refused) as error:
        read(format_, path)
    return str(error.value)


def test_drivers_of_the_sample_are_read_back(tmp_path: Path) -> None:
    path = tmp_path / "seats.csv.gz"
    path.write_bytes(gzip.compress(drivers.write("seats", list(SEATS.items()))))
    rows = read(drivers_csv.FORMAT, path)
    assert {row[3]: row[4] for row in rows} == SEATS
    assert {row[:3] for row in rows} == {("seats", None, "{}")}


def test_dates_keys_and_a_driver_named_by_its_file(tmp_path: Path) -> None:
    path = tmp_path / "heads.csv"
    path.write_text("\ufeffTarget,weight,usage_date,site,Team\r\nsearch,1.50,2026-09-01,,x\r\n\r\nrag,0,,Cork,\r\n")
    assert read(drivers_csv.FORMAT, path) == [
        ("heads", date(2026, 9, 1), '{"team": "x"}', "search", Decimal("1.5"), 1),
        ("heads", None, '{"site": "Cork"}', "rag", Decimal(0), 2),
    ]


@settings(max_examples=15, deadline=None)
@given(st.lists(st.decimals(0, 10**25, allow_nan=False, places=12), min_size=1, max_size=30))
def test_weights_are_exact(tmp_path_factory: pytest.TempPathFactory, weights: list[Decimal]) -> None:
    path = tmp_path_factory.mktemp("weights") / "w.csv"
    path.write_text("target,weight\n" + "".join(f"t{n},{weight:f}\n" for n, weight in enumerate(weights)))
    assert [row[4] for row in read(drivers_csv.FORMAT, path)] == weights


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("target,weight\na,1\nb,-1\n", "seats.csv record 2: weight is not a number"),
        ("target,weight\na,1e3\n", "weight is not a number"),
        ("target,weight\na,0.0000000000001\n", "weight is not a number"),
        ("target,weight\na,\n", "weight is not a number"),
        ("target,weight\n,1\n", "record 1: target is blank"),
        ("target,weight\na,1\na,2\n", "record 2: the same driver, date, keys and target as record 1"),
        ("target,weight,usage_date\na,1,01/09/2026\n", "usage_date is not a day"),
        ("target,weight\na,1,2\n", "record 1: 3 values under 2 columns"),
        ("target;weight\na;1\n", "column target is missing"),
        ("target,weight,cost centre\na,1,x\n", "a key column is named 'cost centre'"),
        ("target,weight,Weight\na,1,1\n", "a column name appears twice"),
        ("", "column target is missing"),
    ],
)
def test_a_bad_driver_is_refused(tmp_path: Path, text: str, words: str) -> None:
    found = refusal(drivers_csv.FORMAT, tmp_path / "seats.csv", text)
    assert words in found and "\n" not in found


def test_exchange_rates(tmp_path: Path) -> None:
    path = tmp_path / "rates.csv"
    path.write_text("period,currency,rate,rate_source\n2026-09,eur,1.1734,ECB 30 Sep\n2026-10,EUR,1.2,ECB\n")
    assert read(fx_csv.FORMAT, path) == [
        ("2026-09", "EUR", Decimal("1.1734"), "ECB 30 Sep", 1),
        ("2026-10", "EUR", Decimal("1.2"), "ECB", 2),
    ]


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ("2026-13,EUR,1,x", "period is not a month"),
        ("2026-09,EURO,1,x", "unknown currency: EURO"),
        ("2026-09,EUR,0,x", "rate is not a number above 0"),
        ("2026-09,EUR,1.1.1,x", "rate is not a number above 0"),
        ("2026-09,EUR,1000000000.5,x", "rate is a billion or more"),
        ("2026-09,EUR,1,", "rate_source is blank"),
        ("2026-08,USD,2,x", "a second rate for USD in 2026-08, after record 1"),
    ],
)
def test_a_bad_rate_is_refused(tmp_path: Path, row: str, words: str) -> None:
    text = f"period,currency,rate,rate_source\n2026-08,USD,1,x\n{row}\n"
    found = refusal(fx_csv.FORMAT, tmp_path / "rates.csv", text)
    assert found.startswith("fx/finance/rates.csv record 2: ") and words in found


def test_keys_are_json_of_texts(tmp_path: Path) -> None:
    path = tmp_path / "d.csv"
    path.write_text('driver,target,weight,model\nd,t,1,"gpt ""5"", é"\n', encoding="utf-8")
    assert json.loads(read(drivers_csv.FORMAT, path)[0][2]) == {"model": 'gpt "5", é'}


INVOICES = ",".join(invoices_csv.COLUMNS)


def test_invoice_documents_of_the_sample_are_read_back(tmp_path: Path) -> None:
    path = tmp_path / "i.csv"
    documents = [invoices.Document("openai", Decimal("7510.67"), Decimal(0), date(2026, 10, 3)), invoices.Document("aws", Decimal("-12.50"), Decimal("1.25"), date(2026, 10, 4))]
    path.write_bytes(invoices.write("2026-09", documents))
    assert read(invoices_csv.FORMAT, path) == [
        ("INV-OPENAI-2026-09", "openai", "org-larkfield", "2026-09", Decimal("7510.67"), Decimal(0), "USD", date(2026, 10, 3), 1),
        ("INV-AWS-2026-09", "aws", "111122223333", "2026-09", Decimal("-12.5"), Decimal("1.25"), "USD", date(2026, 10, 4), 2),
    ]


@pytest.mark.parametrize(
    ("row", "said"),
    [
        (",openai,org-1,2026-09,1,USD,0,2026-10-01", "invoice_id is blank"),
        ("I-1,openai,org-1,September,1,USD,0,2026-10-01", "billing_period is not a month"),
        ('I-1,openai,org-1,2026-09,"1,000",USD,0,2026-10-01', "amount is not a number"),
        ("I-1,openai,org-1,2026-09,1,dollars,0,2026-10-01", "unknown currency"),
        ("I-1,openai,org-1,2026-09,1,usd,x,2026-10-01", "tax is not a number"),
        ("I-1,openai,org-1,2026-09,1,usd,,01.10.2026", "issued_on is not a day"),
        ("I-1,openai,org-1,2026-09,1,usd,,2026-10-01\nI-1,openai,org-1,2026-09,2,usd,,2026-10-02", "again, after record 1"),
    ],
)
def test_a_bad_invoice_refuses_the_file(tmp_path: Path, row: str, said: str) -> None:
    assert said in refusal(invoices_csv.FORMAT, tmp_path / "i.csv", f"{INVOICES}\n{row}\n")


def test_outcomes_of_the_sample_are_read_back(tmp_path: Path) -> None:
    path = tmp_path / "o.csv"
    path.write_bytes(outcomes.write("2026-09", [("desk", "tickets", 12)]))
    assert read(outcomes_csv.FORMAT, path) == [("2026-09", None, None, None, "desk", "tickets", Decimal(12), "tickets", None, 1)]


def test_an_outcome_of_a_day_and_what_it_was_worth(tmp_path: Path) -> None:
    path = tmp_path / "o.csv"
    path.write_text("Usage_date,Team,metric,quantity,value,note\n2026-09-30,search,orders,-1.5,-30.25,taken back\n2026-09-30,,orders,2,,\n")
    assert read(outcomes_csv.FORMAT, path) == [
        ("2026-09", date(2026, 9, 30), "search", None, None, "orders", Decimal("-1.5"), None, Decimal("-30.25"), 1),
        ("2026-09", date(2026, 9, 30), None, None, None, "orders", Decimal(2), None, None, 2),
    ]


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ("2026-09,,Tickets sold,1,", "metric is not a name"),
        ("2026-09,2026-09-01,tickets,1,", "period or usage_date"),
        (",,tickets,1,", "period or usage_date"),
        (",30.09.2026,tickets,1,", "usage_date is not a day"),
        ("2026-13,,tickets,1,", "period is not a month"),
        ("2026-09,,tickets,,", "quantity is not a number"),
        ('2026-09,,tickets,"1,000",', "quantity is not a number"),
        ("2026-09,,tickets,1,much", "value is not a number"),
        ("2026-09,,tickets,1,\n2026-09,,tickets,2,", "tickets again, after record 1"),
    ],
)
def test_a_bad_outcome_refuses_the_file(tmp_path: Path, row: str, said: str) -> None:
    assert said in refusal(outcomes_csv.FORMAT, tmp_path / "o.csv", f"period,usage_date,metric,quantity,value\n{row}\n")

"""What was planted in the sample company stands on the sheet that finance reads, with its state and its dollars."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from decimal import Decimal
from typing import Any

import openpyxl
import pytest

from pipelines.home import Home
from pipelines.sample import Truth, company, expected
from tests.conftest import Rows

TRUTH = expected.as_of(Truth.make(), date(2026, 10, 31))
CENT = Decimal("0.01")
Line = tuple[Any, ...]
Find = Callable[..., Line]


@pytest.fixture(scope="module")
def sheet(company: Home) -> Callable[[str], list[Line]]:
    """The lines of a month's reconciliation sheet, without empty cells."""

    def read(path: str) -> list[Line]:
        book = openpyxl.load_workbook(company.reports / path, read_only=True)
        return [tuple(v for v in row if v is not None) for row in book["Reconciliation"].iter_rows(values_only=True)]

    return read


@pytest.fixture(scope="module")
def october(sheet: Callable[[str], list[Line]]) -> Find:
    return finder(sheet("2026-10/draft/APN-2026-10-company-draft.xlsx"))


@pytest.fixture(scope="module")
def september(sheet: Callable[[str], list[Line]]) -> Find:
    return finder(sheet("2026-09/v1/APN-2026-09-company-v1.xlsx"))


def finder(lines: list[Line]) -> Find:
    def find(*words: Any) -> Line:
        (found,) = [line for line in lines if all(word in line for word in words)]
        return found

    return find


def close(found: Any, wanted: Any) -> bool:
    return abs(Decimal(str(found)) - Decimal(str(wanted))) < CENT


def test_traffic_past_the_gateways(september: Find, october: Find) -> None:
    """OpenAI's bill counts, so that the difference is one of quantity; Anthropic's does not."""
    unseen = expected.unmetered(TRUTH)
    line = september("OpenAI", "Quantity differs", "shared by metered cost up to the true-up bound, the rest is unseen usage")
    assert close(line[6] - line[5], unseen["openai", "2026-09"]) and close(line[8], unseen["openai", "2026-09"]) and line[9:] == (0, 0)
    line = october("Anthropic", "Cost differs", "lark-anthropic")
    assert close(line[6] - line[5], unseen["anthropic", "2026-10"])


def test_a_price_change(october: Find) -> None:
    ((key, more),) = expected.price_change(TRUTH).items()
    line = october("OpenAI", "org-larkfield", "Price differs")
    assert close(line[6] - line[5], more) and line[8] == 0 and close(line[9], more) and line[10] == 0
    assert october(f"{key[1]} Output", "Price differs")[2] == "24 Oct 2026 to 29 Oct 2026"
    assert close(october("Bill drifts away", f"OpenAI {key[1]}")[-1], more)


def test_a_wrong_unit(october: Find) -> None:
    _, model, meter = company.UNIT_ERROR
    _, cost = expected.wrong_unit(TRUTH)
    line = october(f"{model} {meter.capitalize()}", "Quantity differs")
    assert close(line[5], cost) and close(line[6], cost) and close(sum(Decimal(str(part)) for part in line[8:]), 0)
    assert close(october("Another unit?", f"OpenAI {model} {meter}")[-1], cost)


def test_a_shared_key(october: Find, rows: Rows) -> None:
    ((billed, teams),) = rows(
        "select sum(b.billed_cost), (select count(distinct team_id) from ledger l join bill_lines using (charge_id) where sub_account_id = $key and l.period = '2026-10'"
        " and l.portion = 'metered' and l.billed_cost <> 0) from bill_lines b where sub_account_id = $key and strftime(usage_date, '%Y-%m') = '2026-10'",
        {"key": company.OPENAI_SHARED_PROJECT},
    )
    line = october("OpenAI", company.OPENAI_SHARED_PROJECT, "Shared by use")
    assert line[4] == teams > 3 and close(line[5], billed) and close(line[6], billed) and line[7] == 0


def test_a_late_bill(october: Find) -> None:
    """Of the last days what they should cost, until their bill comes; of September what AWS billed after its close, beside its document."""
    late = sum(expected.late_bill(TRUTH).values(), Decimal(0))
    line = october("OpenAI", "Not billed yet", "accrued at our prices until the bill comes")
    assert close(line[5], late) and line[6] == "n/a"
    assert october("AWS", "INV-AWS-2026-09", "Final")[5] > 100
    assert october("AWS", "INV-AWS-2026-09", "Matched")[4] == "2026-09"

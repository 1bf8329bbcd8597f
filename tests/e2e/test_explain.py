"""From a statement line down to pools, units, charges and rows of the bills: the figures lead to the line's cents."""

from __future__ import annotations

from decimal import Decimal

import pytest

from pipelines.errors import Refused
from pipelines.home import Home
from pipelines.inspection import explain, explain_text

PICO = Decimal("0.000000000001")


@pytest.mark.parametrize("team", ["search", "docs", "platform", "unallocated"])
def test_every_line_is_its_pots_and_a_rounding_to_cents(small_company: Home, team: str) -> None:
    lines = explain(small_company, team, "2026-10", None)["lines"]
    for line in lines:
        found = explain(small_company, team, "2026-10", line["line_no"])
        assert found["exact"] + found["rounding"] == line["amount"] and abs(found["rounding"]) < Decimal("0.01")
        assert sum((pot["charged"] for pot in found["pots"]), Decimal(0)) == found["exact"]


def test_the_arithmetic_of_a_shared_pot_can_be_done_again(small_company: Home) -> None:
    lines = explain(small_company, "search", "2026-10", None)["lines"]
    line = next(row["line_no"] for row in lines if row["activity"] == "gpu_idle" and row["amount"] > 1 and row["category"] == "shared")
    found = explain(small_company, "search", "2026-10", line)
    pots = [pot for pot in found["pots"] if pot["share"] is not None]
    assert pots and {pot["driver"] for pot in pots} >= {"reserved_gpu_seconds"}
    for pot in pots:
        again = pot["pool"] * pot["our_units"] / pot["all_units"]
        assert abs(again - pot["charged"]) <= PICO * (pot["charges"] + 1)
        assert abs(pot["rounding"]) <= PICO * pot["charges"]
    text = explain_text(found)
    assert "units = " in text and "rounding" in text and "source rows" in text


def test_a_correction_is_told_as_a_difference_and_not_as_a_share_of_its_pool(small_company: Home) -> None:
    lines = explain(small_company, "search", "2026-10", None)["lines"]
    found = [explain(small_company, "search", "2026-10", line["line_no"]) for line in lines if line["category"] == "adjustment"]
    told = [one for one in found if any(pot["share"] is not None and pot["rounding"] is None for pot in one["pots"])]
    assert told
    for one in told:
        assert f"a correction of {one['line']['original_period']}: what its cost is now known to be, less what was booked" in explain_text(one)
    for one in found:  # an arithmetic that is shown adds up
        assert all(pot["rounding"] is None or abs(pot["rounding"]) <= PICO * pot["charges"] for pot in one["pots"] if pot["share"] is not None)


def test_what_is_not_shown_is_counted(small_company: Home) -> None:
    lines = explain(small_company, "search", "2026-10", None)["lines"]
    for line in lines:
        found = explain(small_company, "search", "2026-10", line["line_no"])
        text, (shown, count) = explain_text(found), (len(found["charges"]), found["charges_in_all"])
        assert (f"largest charges ({shown} of {count:,})" in text) == (count > shown)
    assert any(explain(small_company, "search", "2026-10", line["line_no"])["charges_in_all"] > 20 for line in lines)


def test_a_line_sold_by_the_rate_card_is_quantity_times_rate(small_company: Home) -> None:
    lines = [row for row in explain(small_company, "data-science", "2026-10", None)["lines"] if row["service"] == "Llama 3.3 70B (self-hosted)"]
    found = explain(small_company, "data-science", "2026-10", lines[0]["line_no"])
    assert {one["rule_id"] for one in found["sold"]} == {"llama-input", "llama-output", "llama-cached"}
    assert sum(one["charged"] for one in found["sold"]) == found["exact"] > 0
    for one in found["sold"]:
        assert one["unit"] == "1M tokens" and one["units"] * 1_000_000 == one["quantity"]
        assert abs(one["units"] * one["rate"] - one["charged"]) <= PICO * one["charges"]
        assert f"x {one['rate'].normalize():f} USD per 1M tokens" in explain_text(found)
    seller = next(row for row in explain(small_company, "platform", "2026-10", None)["lines"] if row["category"] == "recovery")
    assert explain(small_company, "platform", "2026-10", seller["line_no"])["sold"] == []


def test_a_direct_line_leads_to_rows_of_the_bill(small_company: Home) -> None:
    lines = explain(small_company, "search", "2026-10", None)["lines"]
    line = next(row for row in lines if row["service"] == "OpenAI API" and row["activity"] == "inference")
    rows = explain(small_company, "search", "2026-10", line["line_no"])["source_rows"]
    assert rows and all(row["source_file"].startswith("billing/openai/") and row["source_row"] > 0 for row in rows)


def test_a_line_leads_to_the_own_calls_and_jobs_behind_it(small_company: Home) -> None:
    lines = explain(small_company, "search", "2026-10", None)["lines"]
    wanted = {("GPU cluster batch", "training"): "gpu/slurm/", ("OpenAI API", "inference"): "gateway/", ("Accrued usage", "inference"): "gateway/"}
    for (service, activity), folder in wanted.items():
        line = next(row for row in lines if (row["service"], row["activity"], row["category"]) == (service, activity, "direct"))
        found = explain(small_company, "search", "2026-10", line["line_no"])
        assert found["usage_rows"] and all(row["source_file"].startswith(folder) for row in found["usage_rows"])
        assert len(found["usage_rows"]) == min(20, found["usage_rows_in_all"]) and "own calls, jobs and pods" in explain_text(found)


def test_unknown_names_are_refused(small_company: Home) -> None:
    for team, period, line in (("nobody", "2026-10", None), ("search", "2027-01", None), ("search", "2026-10", 999)):
        with pytest.raises(Refused):
            explain(small_company, team, period, line)

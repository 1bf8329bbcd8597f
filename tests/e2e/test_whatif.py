"""A period under another policy: differences per team that add up to nothing, and a home that is left as it was."""

from __future__ import annotations

import hashlib
import shutil
from decimal import Decimal
from pathlib import Path

import pytest

from pipelines.errors import Refused
from pipelines.home import Home
from pipelines.whatif import text, whatif
from tests.conftest import quiet


@pytest.fixture
def other(company_copy: Home, tmp_path: Path) -> Path:
    return Path(shutil.copytree(company_copy.policy, tmp_path / "other"))


def files(home: Home) -> dict[str, str]:
    return {
        str(p.relative_to(home.root)): hashlib.sha256(p.read_bytes()).hexdigest()
        for p in home.root.rglob("*")
        if p.is_file() and p.name != ".lock"
    }


@pytest.mark.parametrize("period", ["2026-09", "2026-10"])
def test_the_same_policy_moves_nothing(company_copy: Home, other: Path, period: str) -> None:
    before = files(company_copy)
    found = whatif(company_copy, period, other, quiet)
    assert {row["team_id"]: row["difference"] for row in found["teams"] if row["difference"]} == {}
    assert len(found["teams"]) == 9 and sum(row["now"] for row in found["teams"]) > 1000
    assert files(company_copy) == before


def test_a_changed_rule_moves_cost_between_teams_and_says_why(company_copy: Home, other: Path) -> None:
    path = other / "allocation.yaml"
    rules = path.read_text()
    changed = rules.replace("to: platform}\n  - id: idle-to-users", "to: unallocated}\n  - id: idle-to-users", 1)
    assert changed != rules
    path.write_text(changed)
    before = files(company_copy)
    found = whatif(company_copy, "2026-10", other, quiet)
    moved = {row["team_id"]: row for row in found["teams"]}
    assert sum(row["difference"] for row in found["teams"]) == Decimal(0)
    assert moved["unallocated"]["difference"] > 1000
    assert moved["unallocated"]["because"][0]["cost_pool"] == "gpu_idle"
    assert moved["unallocated"]["because"][0]["rules_then"] == ["idle-until-mid-october"]
    assert all(row["difference"] < 0 for team, row in moved.items() if team not in ("unallocated", "platform") and row["difference"])
    assert "all teams" in text(found) and "+0.00" in text(found).splitlines()[-1]
    assert files(company_copy) == before


def test_wrong_questions_are_refused(company_copy: Home, other: Path) -> None:
    with pytest.raises(Refused, match="2027-01 is not a period"):
        whatif(company_copy, "2027-01", other, quiet)
    with pytest.raises(Refused, match="is not a folder"):
        whatif(company_copy, "2026-10", other / "nothing", quiet)
    (other / "teams.yaml").unlink()
    with pytest.raises(Refused, match=r"teams\.yaml"):
        whatif(company_copy, "2026-10", other, quiet)

"""Independent engines over finished workbooks: another calculation gives every cached value, and a validator finds nothing new."""

from __future__ import annotations

import io
import re
import zipfile
from pathlib import Path

import pytest

from pipelines.home import Home
from pipelines.render import workbook
from tests.unit.test_render import cells, company

KNOWN = {  # of every file that openpyxl writes: the order of a font's children, and texts that stand in their cells
    ("error", "/xl/styles.xml", "Unexpected element 'b' found"),
    ("error", "/xl/styles.xml", "Unexpected element 'color' found"),
}
INLINE = re.compile(r"Worksheet sheet\d+\.xml has \d+ inline-string cell")


@pytest.fixture(scope="module")
def made() -> dict[str, bytes]:
    """Workbooks of hostile names, corrections, negative lines and an intercompany journal."""
    con = company()
    teams = {team: workbook.team(con, period="2026-10", version=0, team_id=team) for team in ("search", "platform")}
    return {**teams, "company": workbook.company(con, period="2026-10", version=0)}


def without_values(content: bytes) -> bytes:
    """The workbook without any cached value, so that none can be taken for a result."""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as source, zipfile.ZipFile(out, "w") as target:
        for part in source.namelist():
            text = source.read(part)
            if part.startswith("xl/worksheets/sheet"):
                text = re.sub(rb"(</f>)<v>[^<]*</v>", rb"\1<v></v>", text)
            target.writestr(part, text)
    return out.getvalue()


def differing(content: bytes) -> tuple[int, list[tuple[object, ...]]]:
    """How many formulas there are, and those whose value is not what the other engine computes."""
    engine = pytest.importorskip("formualizer", reason="formualizer is not installed: cached values were not recalculated")
    formulas, cached = cells(content, False), cells(content, True)
    computed = cells(engine.recalculate_xlsx_bytes(without_values(content))["bytes"], True)
    live = [at for at, value in formulas.items() if isinstance(value, str) and value.startswith("=") and cached.get(at) != value]

    def same(at: tuple[str, str]) -> bool:
        known, found = cached[at], computed.get(at)
        return found == known if isinstance(known, str) else (found or 0) == pytest.approx(known, rel=1e-9, abs=1e-7)

    return len(live), [(at, formulas[at], cached[at], computed.get(at)) for at in live if not same(at)]


@pytest.mark.parametrize("name", ["search", "platform", "company"])
def test_another_engine_computes_every_cached_value(made: dict[str, bytes], name: str) -> None:
    count, wrong = differing(made[name])
    assert count > 90 and wrong == []


def test_a_wrong_cached_value_would_be_seen(made: dict[str, bytes]) -> None:
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(made["company"])) as source, zipfile.ZipFile(out, "w") as target:
        for part in source.namelist():
            text = source.read(part)
            if part.startswith("xl/worksheets/sheet"):
                text = re.sub(rb"(<f>SUM\(F\d+:F\d+\)</f><v>)[^<]*(</v>)", rb"\g<1>111\2", text)
            target.writestr(part, text)
    assert differing(out.getvalue())[1]


def test_the_sample_companys_workbooks_compute_to_their_cached_values(small_company: Home) -> None:
    for version in ("2026-09/v1", "2026-10/draft"):
        found = sorted(path for path in (small_company.reports / version).glob("*.xlsx") if re.search("company|docs|platform", path.name))
        assert len(found) == 3
        for path in found:
            count, wrong = differing(path.read_bytes())
            assert count > 50 and wrong == [], path.name


def test_a_validator_finds_nothing_new(made: dict[str, bytes], tmp_path: Path) -> None:
    audit = pytest.importorskip("openxml_audit", reason="openxml-audit is not installed: workbooks were not validated")
    validator = audit.OpenXmlValidator()
    for name, content in made.items():
        path = tmp_path / f"{name}.xlsx"
        path.write_bytes(content)
        found = {(one.severity.value, one.part_uri, one.description) for one in validator.validate(str(path)).errors}
        new = {one for one in found - KNOWN if not INLINE.match(one[2])}
        assert new == set(), name

"""Files that may be larger than memory are read piece by piece, and what is one document has a limit."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Any

import pytest

from pipelines import landing
from pipelines.home import Home
from pipelines.sources import registry
from pipelines.sources.billing import gcp_billing, lines
from pipelines.sources.gpu import sacct
from pipelines.warehouse import memory
from tests.conftest import quiet
from tests.formats import samples
from tests.unit.test_landing_gateways import Seen

# The first sample of OpenRouter is its CSV.
DOCUMENTS = [name for name in registry.READERS if (registry.find(name).pages or registry.find(name).document) and name != "openrouter"]


def landed(root: Path, name: str, after: bytes = b"") -> tuple[list[tuple[Any, ...]], list[str]]:
    """Rows of the lake, and what was refused."""
    valid, home = samples()[name], Home(root)
    folder = home.landing / valid.kind / "s"
    folder.mkdir(parents=True)
    (folder / valid.name).write_bytes(valid.data + after)
    with memory() as con:
        report = landing.land(con, home, valid.sources(), date(2026, 10, 4), Seen(), quiet)  # type: ignore[arg-type]
        files = [str(path) for path in home.lake.rglob("*.parquet")]
        rows = con.execute("select * from read_parquet(?) order by all", [files]).fetchall() if files else []
    return rows, [str(refused) for refused in report.refused]


@pytest.mark.parametrize("name", ["databricks", "gcp_billing", "runpod", "sacct"])
def test_piece_by_piece_is_the_same_as_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    whole, refused = landed(tmp_path / "whole", name)
    for module in (gcp_billing, lines, sacct):
        monkeypatch.setattr(module, "AT_ONCE", 1)
    assert (landed(tmp_path / "pieces", name), refused) == ((whole, []), [])
    assert len(whole) > 1


@pytest.mark.parametrize("name", DOCUMENTS)
def test_a_document_over_the_limit_is_refused_before_it_is_parsed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """However short its lines are."""
    monkeypatch.setattr(landing, "MAX_DOCUMENT", 1 << 20)
    _, refused = landed(tmp_path, name, b" \n" * (1 << 19))
    assert refused == [f"{samples()[name].kind}/s/{samples()[name].name}: a document of more than 1 MB; deliver it in smaller files"]

"""The chain of manifests over issued versions: what was altered, added, taken away or put out of order is named."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from pipelines.books import Books, file_sha256
from pipelines.errors import Refused
from pipelines.home import Home
from pipelines.inspection import verify
from pipelines.reports import MANIFEST, Made, Pages, _place

PAGES = Pages({"index.html": "<p>door</p>", "weekly/2026-W45/search.html": "<p>week</p>", "guardrails/budgets.json": "{}"}, "weekly/2026-W45")
LATER = Pages({"index.html": "<p>another night</p>"}, "weekly/2026-W46")


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """Three versions of two months, issued as September, October, then September again; nothing else in the home."""
    home = Home(tmp_path)
    books, previous = Books(home), None
    for period, version in (("2026-09", 1), ("2026-10", 1), ("2026-09", 2)):
        books.append("closed", {"period": period, "version": version, "through": "2026-11-05"})
        folder = home.reports / period / f"v{version}"
        made = [Made(f"{name}-{version}.csv", "journal", "FINAL", None, f"{period} {name}".encode()) for name in ("a", "b")]
        _place(SimpleNamespace(home=home), folder, version, made, {"previous": file_sha256(previous) if previous else None}, {})
        previous = folder / MANIFEST
    books.append("closed", {"period": "2026-11", "version": 1, "through": "2026-12-05", "totals": []})  # nothing was spent: no statements
    home.published.mkdir(parents=True)
    (home.published / "apportion-x.duckdb").write_bytes(b"x")
    home.current.symlink_to("apportion-x.duckdb")
    listed = [{"path": str(path.relative_to(home.reports)), "sha256": file_sha256(path)} for path in home.reports.rglob("*") if path.is_file()]
    manifest = {"database": {"path": "apportion-x.duckdb", "sha256": file_sha256(home.current)}, "lake": [], "reports": listed}
    PAGES.write(home.reports)
    manifest["pages"] = PAGES.checksums
    manifest["books"] = {"entries": len(books.entries), "sha256": books.entries[-1].sha256}
    (home.published / "apportion-x.manifest.json").write_text(json.dumps(manifest))
    return home


def rewritten(path: Path) -> None:
    """A manifest that says of an altered file what that file now is."""
    altered = path.with_name("a-1.csv")
    altered.write_bytes(b"other amounts")
    manifest = json.loads(path.read_text())
    next(one for one in manifest["files"] if one["name"] == altered.name)["sha256"] = file_sha256(altered)
    path.write_text(json.dumps(manifest))


def longer(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"\n")


BREAKS: list[tuple[str, Callable[[Path], object], list[str]]] = [
    ("altered", lambda r: (r / "2026-10/v1/a-1.csv").write_bytes(b"-"), ["reports/2026-10/v1/a-1.csv: has been altered"]),
    ("missing", lambda r: (r / "2026-09/v2/b-2.csv").unlink(), ["reports/2026-09/v2/b-2.csv: is missing"]),
    ("added", lambda r: (r / "2026-09/v1/c.csv").write_bytes(b"c"), ["reports/2026-09/v1/c.csv: does not belong here"]),
    ("never issued", lambda r: (r / "2026-10/v2").mkdir(), ["reports/2026-10/v2: was never issued"]),
    ("manifest lost", lambda r: (r / "2026-10/v1/manifest.json").unlink(), ["reports/2026-10/v1/manifest.json: is missing"]),
    ("file and manifest altered", lambda r: rewritten(r / "2026-09/v1/manifest.json"),
     ["reports/2026-09/v1/a-1.csv: has been altered", "reports/2026-10/v1/manifest.json: the chain of manifests is broken before this one"]),
    ("the last of the chain altered", lambda r: (r / "2026-09/v2/manifest.json").write_text((r / "2026-09/v2/manifest.json").read_text() + "\n"),
     ["reports/2026-09/v2/manifest.json: has been altered"]),
    ("a page altered", lambda r: (r / "index.html").write_text("<p>another door</p>"), ["reports/index.html: has been altered"]),
    ("a digest lost", lambda r: (r / "weekly/2026-W45/search.html").unlink(), ["reports/weekly/2026-W45/search.html: is missing"]),
    ("a feed altered", lambda r: longer(r / "guardrails/budgets.json"), ["reports/guardrails/budgets.json: has been altered"]),
    ("no JSON any more", lambda r: (r / "2026-09/v2/manifest.json").write_bytes(b"\xff{"), ["reports/2026-09/v2/manifest.json: has been altered"]),
    ("the last entry of the books altered", lambda r: longer(r.parent / "data/books/000004-closed-2026-11-1/entry.json"), ["000004-closed-2026-11-1/entry.json: has been altered"]),
    ("the last entry of the books lost", lambda r: (r.parent / "data/books/000004-closed-2026-11-1/entry.json").unlink(), ["data/books: entry 4 is missing"]),
]  # fmt: skip


@pytest.mark.parametrize(("what", "damage", "said"), BREAKS, ids=[what for what, _, _ in BREAKS])
def test_each_damage_is_named(home: Home, what: str, damage: Callable[[Path], object], said: list[str]) -> None:
    assert verify(home)[1] == []
    damage(home.reports)
    problems = verify(home)[1]
    for one in said:
        assert any(problem.startswith(one) for problem in problems), problems


def test_pages_of_a_night_that_was_killed_are_right_and_others_are_not(home: Home) -> None:
    """Such a night has named its pages in a manifest that nothing points to yet."""
    current = home.published / "apportion-x.manifest.json"
    killed = {**json.loads(current.read_text()), "previous": file_sha256(current), "pages": LATER.checksums}
    (home.published / "apportion-y.manifest.json").write_text(json.dumps(killed))
    LATER.write(home.reports)
    assert verify(home)[1] == []
    killed["previous"] = None  # a manifest of another line says nothing about today's pages
    (home.published / "apportion-y.manifest.json").write_text(json.dumps(killed))
    assert verify(home)[1] == ["reports/index.html: has been altered; restore it from a backup"]


def test_a_lost_version_comes_back_as_it_was_issued_or_not_at_all(home: Home) -> None:
    folder = home.reports / "2026-09/v1"
    before = {one["path"]: one["sha256"] for one in json.loads((home.published / "apportion-x.manifest.json").read_text())["reports"]}
    files = {path.name: path.read_bytes() for path in folder.iterdir()}
    shutil.rmtree(folder)

    def again(name: str) -> None:
        made = [Made(f"{one}-1.csv", "journal", "FINAL", None, f"2026-09 {one}".encode()) for one in ("a", name)]
        _place(SimpleNamespace(home=home), folder, 1, made, {"previous": None}, before)

    with pytest.raises(Refused, match="reports/2026-09/v1: was issued and is lost, and cannot be made again as it was; restore it from a backup"):
        again("later figures")
    assert not folder.exists() and not list(folder.parent.glob(".*"))
    again("b")
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == files and verify(home)[1] == []

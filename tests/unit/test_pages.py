"""The pages in a real browser: nothing runs that should not, nothing is cut off, everything can be read."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from datetime import date
from hashlib import sha256
from pathlib import Path

import duckdb
import pytest

from pipelines.home import Home
from pipelines.render import digest, engineering, index, overview, workbook
from tests.browser import CHROMIUM, CONTRAST, OVERFLOW, Browser
from tests.unit.test_render import company

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed: the pages were not looked at in a browser")

# The smallest letters of any chart, and the narrowest name of a row in any table, in pixels.
SMALLEST = "Math.min(99, ...[...document.querySelectorAll('svg text')].filter(t => t.getClientRects().length).map(t => parseFloat(getComputedStyle(t).fontSize) * t.getScreenCTM().a))"
NARROWEST = "Math.min(999, ...[...document.querySelectorAll('th.name')].filter(th => th.getClientRects().length).map(th => th.getBoundingClientRect().width))"
STATEMENT = Path("2026-10/draft/APN-2026-10-search-draft.html")


@pytest.fixture(scope="module")
def reports(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The pages of the small company with its hostile names, and with very long names of models and projects."""
    root, con, files = tmp_path_factory.mktemp("reports"), company(), []
    long = "an-unusually-long-name-without-any-space-in-it-" * 4
    for table in ("ledger", "statement_lines"):
        con.execute(f"update {table} set model = $long where model = 'claude-sonnet-5'", {"long": long})
    con.execute("update ledger set project_id = $script where project_id = 'project-1'", {"script": "<img src=x onerror=alert(1)> " + long})
    for period, version in (("2026-09", 1), ("2026-10", 0)):
        folder = root / period / ("draft" if version == 0 else f"v{version}")
        folder.mkdir(parents=True)
        for (team,) in con.execute("select distinct team_id from statements where period = ? order by 1", [period]).fetchall():
            for name, content in workbook.files(con, period=period, version=version, team_id=team).items():
                (folder / name).write_bytes(content)
                href = str((folder / name).relative_to(root))
                files.append({"period": period, "version": version, "state": "DRAFT", "team_id": team, "name": name, "href": href, "bytes": len(content), "sha256": sha256(content).hexdigest()})
    (root / "index.html").write_text(index.page(con, files), encoding="utf-8")
    (root / "rate-card.html").write_text(index.rate_card(con), encoding="utf-8")
    return root


@pytest.fixture(scope="module")
def insights(small_company: Home, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The pages over tables of analysts, of the sample company with hostile and very long names in them, and with alerts."""
    root = tmp_path_factory.mktemp("insights")
    shutil.copyfile(small_company.current.resolve(), root / "company.duckdb")
    (root / "company.duckdb").chmod(0o600)
    with duckdb.connect(str(root / "company.duckdb")) as con:
        rude = "<img src=x onerror=alert(1)> =1+1 " + "an-unusually-long-name-without-any-space-in-it-" * 3
        for table, column in (("cost_daily", "model"), ("cost_daily", "project_id"), ("efficiency", "model"), ("efficiency", "project_id"), ("budget_status", "name"), ("budget_status", "owner"),
                              ("unit_economics", "name"), ("alerts", "evidence"), ("statements", "team_name"), ("levers", "assumptions"), ("latency_daily", "project_id"), ("routing_daily", "routing_reason"), ("conversations_daily", "project_id"), ("chains_daily", "chain"), ("index_unit_costs", "name")):  # fmt: skip
            con.execute(f"update {table} set {column} = $rude || {column} where {column} is not null", {"rude": rude})
        con.execute(
            "insert into alerts by name select 'a' as alert_id, 'hourly_spend' as kind, 'critical' as severity, 'support' as team_id, date '2026-10-20' as raised_on,"
            " $rude as evidence, 'open' as state, 1.5::decimal(38, 12) as expected, 2.5::decimal(38, 12) as actual, 1::decimal(38, 12) as cost_impact",
            {"rude": rude},
        )
        (root / "overview.html").write_text(overview.page(con), encoding="utf-8")
        (root / "engineering.html").write_text(engineering.page(con), encoding="utf-8")
        (root / "digest.html").write_text(digest.pages(con, date(2026, 10, 31))["support.html"].html, encoding="utf-8")
    return root


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with Browser(tmp_path_factory.mktemp("profile")) as made:
        yield made


@pytest.mark.parametrize("name", [str(STATEMENT), "index.html", "rate-card.html"])
def test_a_page_fits_every_screen_and_can_be_read_in_light_and_dark(browser: Browser, reports: Path, name: str) -> None:
    _fits_and_can_be_read(browser, reports, name)


@pytest.mark.parametrize("name", ["overview.html", "engineering.html", "digest.html"])
def test_a_page_of_analysis_does_so_too_whatever_names_say(browser: Browser, insights: Path, name: str) -> None:
    _fits_and_can_be_read(browser, insights, name)
    assert browser.value("document.images.length + document.scripts.length") == 0
    assert "<img src=x onerror=alert(1)> =1+1" in browser.value("document.body.innerText")
    assert browser.value("document.querySelectorAll('main section').length") >= 5


def test_a_month_that_is_not_over_says_where_it_will_end(insights: Path) -> None:
    assert ">Month end<" not in (insights / "overview.html").read_text(encoding="utf-8")
    with duckdb.connect(str(insights / "company.duckdb")) as con:
        con.execute("begin")
        con.execute("update forecast set days_left = 1, basis = 'forecast', low = 1, forecast = 2, high = 3 where period = '2026-10'")
        con.execute("update budget_status set runway_days = 1 where period = '2026-10'")
        page = overview.page(con)
        con.execute("rollback")
    assert ">Month end<" in page and "1 day left" in page and "between 1.00 and 3.00" in page and ">1 day<" in page and ">1 days" not in page


def _fits_and_can_be_read(browser: Browser, reports: Path, name: str) -> None:
    for width in (1280, 390):
        for dark in (False, True):
            browser.open(reports / name, width, dark)
            assert browser.value(OVERFLOW) <= 0, (name, width)
            assert browser.value(SMALLEST) >= 10, (name, width)
            assert browser.value(NARROWEST) >= 90, (name, width)
            ratio, text = browser.value(CONTRAST)
            assert ratio >= 4.5, (name, width, dark, text)
            assert browser.complaints == []
            assert browser.value("document.querySelectorAll('svg[role=img] > title, svg[role=img] > desc').length") == 2 * browser.value("document.querySelectorAll('svg').length")


def test_names_are_text_and_nothing_else(browser: Browser, reports: Path) -> None:
    browser.open(reports / STATEMENT, 1280)
    assert browser.value("document.images.length + document.scripts.length") == 0
    assert "<img src=x onerror=alert(1)>" in browser.value("document.body.innerText")
    assert "=HYPERLINK" in browser.value("document.body.innerText")
    assert browser.complaints == []


def test_the_statement_says_what_the_workbook_says(browser: Browser, reports: Path) -> None:
    browser.open(reports / STATEMENT, 1280)
    text = browser.value("document.body.innerText")
    total = company().execute("select sum(total_amount) from statements where period = '2026-10' and team_id = 'search'").fetchone()[0]
    assert f"${total:,.2f}" in text and "DRAFT · as of 2026-10-21" in text and "APN-2026-10-search" in text and "checks hold" in text
    assert browser.value("[...document.querySelectorAll('main a')].every(a => new URL(a.href).protocol === 'file:')")


def test_typing_filters_the_statements(browser: Browser, reports: Path) -> None:
    shown = "[...document.querySelectorAll('tr.team')].filter(row => row.getClientRects().length).map(row => row.dataset.month)"
    browser.open(reports / "index.html", 1280)
    assert len(browser.value(shown)) == 8
    browser.value("document.getElementById('filter').focus()")
    browser.call("Input.insertText", text="platform sept")
    assert [month.split()[0] for month in browser.value(shown)] == ["September"]
    assert browser.value("document.getElementById('found').textContent") == "1 statement"
    assert browser.value("document.querySelectorAll('section.month:not([hidden])').length") == 1
    browser.value("document.getElementById('filter').select()")
    browser.call("Input.insertText", text="nobody at all")
    assert browser.value(shown) == [] and browser.value("document.getElementById('found').textContent") == "0 statements"


def test_without_script_everything_is_there(browser: Browser, reports: Path) -> None:
    browser.open(reports / "index.html", 390, scripts=False)
    assert browser.value("document.querySelectorAll('tr.team').length") == 8
    assert browser.value("document.querySelector('.filter').getClientRects().length") == 0
    browser.call("Emulation.setScriptExecutionDisabled", value=False)


def test_it_prints_on_the_paper_that_is_there(browser: Browser, reports: Path) -> None:
    browser.open(reports / STATEMENT, 1280)
    for width, height in ((8.27, 11.69), (8.5, 11)):
        printed = browser.call("Page.printToPDF", paperWidth=width, paperHeight=height, preferCSSPageSize=True)
        assert len(printed["data"]) > 10_000
    browser.call("Emulation.setEmulatedMedia", media="print")
    browser.call("Emulation.setDeviceMetricsOverride", width=703, height=900, deviceScaleFactor=1, mobile=False)  # A4 less its margins
    assert browser.value(OVERFLOW) <= 0
    assert browser.value(CONTRAST)[0] >= 4.5
    browser.call("Emulation.setEmulatedMedia", media="")

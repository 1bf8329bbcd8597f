"""`apportion allocate` on files as people really send them: what is odd but clear is read, the rest is refused in one line."""

from __future__ import annotations

import csv
import sys
from decimal import Decimal
from fractions import Fraction
from pathlib import Path

import pytest

from pipelines import cli

RULES = """\
version: 1
pools: {rest: "true"}
rules:
  - {id: share, pool: rest, by: [cluster], method: proportional, driver: hours, fallback: [{to: unallocated}]}
"""
CHARGES = "charge_id,usage_date,cost,cluster\nc1,2026-10-01,100,a\nc2,2026-10-02,-10.5,b\n"
DRIVERS = "driver,target,weight,cluster\nhours,search,1,a\nhours,ads,2,a\nhours,ads,5,b\n"

Row = dict[str, str]


class Desk:
    """A folder with the three files, and the command."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self.folder, self.monkeypatch, self.capsys = folder, monkeypatch, capsys
        self.out = folder / "out.csv"
        for name, text in (("rules.yaml", RULES), ("charges.csv", CHARGES), ("drivers.csv", DRIVERS)):
            self.write(name, text)

    def write(self, name: str, content: str | bytes) -> None:
        data = content.encode() if isinstance(content, str) else content
        (self.folder / name).write_bytes(data)

    def command(self, *more: str) -> tuple[int, str, list[str]]:
        """Exit code, standard output, lines of standard error."""
        files = [f"--{name.split('.')[0]}={self.folder / name}" for name in ("rules.yaml", "charges.csv", "drivers.csv")]
        self.monkeypatch.setattr(sys, "argv", ["apportion", "allocate", *files, *more])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        told = self.capsys.readouterr()
        return int(ended.value.code or 0), told.out, told.err.splitlines()

    def rows(self) -> list[Row]:
        code, _, errors = self.command(f"--out={self.out}")
        assert code == 0, errors
        with open(self.out, encoding="utf-8", newline="") as file:
            return list(csv.DictReader(file))

    def refusal(self) -> str:
        """The one line on standard error; nothing is written."""
        code, printed, errors = self.command(f"--out={self.out}")
        assert code == 1 and not printed and len(errors) == 1, (code, errors)
        assert sorted(path.name for path in self.folder.iterdir()) == ["charges.csv", "drivers.csv", "rules.yaml"]
        return errors[0]


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Desk:
    return Desk(tmp_path, monkeypatch, capsys)


def costs(rows: list[Row]) -> dict[tuple[str, str], str]:
    return {(row["charge_id"], row["target"]): row["cost"] for row in rows}


USUAL = {
    ("c1", "ads"): "66.666666666667",
    ("c1", "search"): "33.333333333333",
    ("c2", "ads"): "-10.500000000000",
}


# What is read --------------------------------------------------------------------------------------------------------


def test_the_columns_and_their_order_on_standard_output_and_in_a_file(desk: Desk) -> None:
    code, printed, _ = desk.command()
    assert code == 0
    assert printed.splitlines()[:2] == [
        "charge_id,rule_id,stage,target,weight,weight_total,fallback_level,cost",
        "c1,share,0,ads,2,3,0,66.666666666667",
    ]
    assert costs(desk.rows()) == USUAL
    assert desk.out.read_text() == printed
    assert [path.name for path in desk.folder.iterdir() if path.name.startswith(".")] == []


@pytest.mark.parametrize(
    "name, content",
    [
        ("charges.csv", b"\xef\xbb\xbf" + CHARGES.encode()),
        ("charges.csv", CHARGES.replace("\n", "\r\n")),
        ("charges.csv", CHARGES.replace(",", " , ")),
        ("charges.csv", CHARGES + "\n\n"),
        ("charges.csv", CHARGES.rstrip("\n")),
        ("charges.csv", CHARGES.replace("cluster\n", "cluster,_pid,,_m0,portion\n").replace(",a\n", ",a,9,x,7,p\n").replace(",b\n", ",b,9,,7,p\n")),
        ("charges.csv", CHARGES.replace("100", "1e2").replace("-10.5", "-1.05E+1")),
        ("charges.csv", CHARGES.replace("\nc2", "\nc3,2026-10-02,123456789012345678.123456789012,c\nc2")),
        ("charges.csv", CHARGES.replace("c1", '"c1"').replace("100", '"+100.000000000000"')),
        ("drivers.csv", b"\xef\xbb\xbf" + DRIVERS.replace("\n", "\r\n").encode()),
        ("drivers.csv", DRIVERS + "seats,search,4,\nhours,nobody,0,a\n"),
        ("drivers.csv", DRIVERS.replace(",1,a", ",0.1,a").replace(",2,a", ",0.2,a")),
        ("drivers.csv", DRIVERS.replace(",1,a", ",1" + "0" * 40 + ",a").replace(",2,a", ",2" + "0" * 40 + ",a")),
        ("drivers.csv", DRIVERS.replace(",1,a", ",1e-300,a").replace(",2,a", ",2e-300,a")),
        ("drivers.csv", DRIVERS.replace("cluster\n", "cluster,usage_date\n").replace(",a\n", ",a,2026-10-05\n").replace(",b\n", ",b,\n")),
    ],
)  # fmt: skip
def test_other_spellings_of_the_same_files_give_the_same_costs(desk: Desk, name: str, content: str | bytes) -> None:
    desk.write(name, content)
    found = costs(desk.rows())
    assert {key: found[key] for key in USUAL} == USUAL


def test_names_come_out_as_they_went_in(desk: Desk) -> None:
    names = ["Search & Ads, EMEA", 'the "core" team', "=1+1", "line\nbreak", "équipe Ω 检索", "o'neil", "a;b|c", "'; drop"]
    with open(desk.folder / "drivers.csv", "w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([["driver", "target", "weight"], *(["hours", name, 1] for name in names)])
    with open(desk.folder / "charges.csv", "w", encoding="utf-8", newline="") as file:
        ids = [f"charge {name}" for name in names]
        csv.writer(file).writerows(
            [["charge_id", "usage_date", "cost", "cluster"], *([i, "2026-10-01", 8, ""] for i in ids)]
        )
    rows = desk.rows()
    assert {(row["charge_id"], row["target"]) for row in rows} == {(i, name) for i in ids for name in names}
    assert {row["cost"] for row in rows} == {"1.000000000000"}


def test_every_digit_of_a_weight_decides(desk: Desk) -> None:
    """Forty digits, and a difference in the last; beside them one with thirty decimals."""
    large, small = "1" + "0" * 39, "0." + "0" * 29 + "1"
    desk.write("charges.csv", "charge_id,usage_date,cost,cluster\nc1,2026-10-01,1000000,a\n")
    desk.write("drivers.csv", f"driver,target,weight\nhours,x,{large}\nhours,y,{large[:-1]}1\nhours,z,{small}\n")
    rows = desk.rows()
    exact = [Fraction(row["weight"]) / Fraction(row["weight_total"]) for row in rows]
    given = [Fraction(large), Fraction(large) + 1, Fraction(small)]
    assert exact == [weight / sum(given) for weight in given]
    assert [row["cost"] for row in rows] == ["500000.000000000000", "500000.000000000000", "0.000000000000"]


def test_a_million_dollars_by_ten_trillion_fractional_tokens(desk: Desk) -> None:
    desk.write("charges.csv", "charge_id,usage_date,cost,cluster\nc1,2026-10-01,1000000,a\n")
    weights = {f"t{i}": f"{10**13 // 7 + i}.{i:05d}25" for i in range(7)}
    desk.write("drivers.csv", "driver,target,weight\n" + "".join(f"hours,{t},{w}\n" for t, w in weights.items()))
    total = sum(Fraction(w) for w in weights.values())
    rows = desk.rows()
    assert sum(Decimal(row["cost"]) for row in rows) == 1000000
    for row in rows:
        assert abs(Fraction(row["cost"]) - 1000000 * Fraction(weights[row["target"]]) / total) < Fraction(1, 10**12)


def test_months_are_periods_of_their_own(desk: Desk) -> None:
    desk.write("charges.csv", CHARGES + "c3,2027-01-31,6,a\nc0,2026-12-31,6,a\n")
    desk.write(
        "drivers.csv",
        "driver,target,weight,usage_date\nhours,x,1,2026-10-31\nhours,y,1,2026-12-01\nhours,z,1,2027-01-01\n",
    )
    assert [(row["charge_id"], row["target"]) for row in desk.rows()] == [("c1", "x"), ("c2", "x"), ("c0", "y"), ("c3", "z")]


def test_only_a_header_is_a_month_without_charges(desk: Desk) -> None:
    desk.write("charges.csv", CHARGES.splitlines()[0])
    assert desk.rows() == []


def test_a_file_is_replaced_as_a_whole_and_only_when_all_is_well(desk: Desk) -> None:
    desk.rows()
    before = desk.out.read_bytes()
    desk.write("charges.csv", CHARGES + "c1,2026-10-03,1,a\n")
    assert desk.command(f"--out={desk.out}")[0] == 1
    assert desk.out.read_bytes() == before
    assert len(list(desk.folder.iterdir())) == 4


# What is refused -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name, content, said",
    [
        ("charges.csv", "", "charges.csv:1: no column charge_id"),
        ("charges.csv", CHARGES.replace("cost", "amount"), "charges.csv:1: no column cost"),
        ("charges.csv", CHARGES.replace("cluster\n", "Cost\n"), "charges.csv:1: two columns of the same name"),
        ("charges.csv", CHARGES.replace("cluster", "pool"), "rules.yaml:4: rule share names the unknown column cluster"),
        ("charges.csv", CHARGES.replace("c2", "c1"), "charges.csv:3: charge_id appears twice"),
        ("charges.csv", CHARGES.replace("c2", " "), "charges.csv:3: charge_id is blank"),
        ("charges.csv", CHARGES.replace("2026-10-02", "02.10.2026"), "charges.csv:3: usage_date is not a day"),
        ("charges.csv", CHARGES.replace("2026-10-02", "2026-02-30"), "charges.csv:3: usage_date is not a day"),
        ("charges.csv", CHARGES.replace("2026-10-02", "20261002"), "charges.csv:3: usage_date is not a day"),
        ("charges.csv", CHARGES.replace("-10.5", "NaN"), "charges.csv:3: cost is not a number"),
        ("charges.csv", CHARGES.replace("-10.5", "-Infinity"), "charges.csv:3: cost is not a number"),
        ("charges.csv", CHARGES.replace("-10.5", "$10.5"), "charges.csv:3: cost is not a number"),
        ("charges.csv", CHARGES.replace("-10.5", '"1,000"'), "charges.csv:3: cost is not a number"),
        ("charges.csv", CHARGES.replace("-10.5", ""), "charges.csv:3: cost is not a number"),
        ("charges.csv", CHARGES.replace("-10.5", "0.0000000000001"), "charges.csv:3: cost has more digits"),
        ("charges.csv", CHARGES.replace("-10.5", "1e18"), "charges.csv:3: cost has more digits"),
        ("charges.csv", CHARGES.replace(",b", ""), "charges.csv:3: 3 fields instead of 4"),
        ("charges.csv", CHARGES.replace("c1", '"c\n1"').replace(",b", ",b,c"), "charges.csv:4: 5 fields instead of 4"),
        ("charges.csv", CHARGES.replace("c2", '"c2'), "charges.csv:3: is not CSV: unexpected end of data"),
        ("charges.csv", CHARGES.replace("c2", '"c"2'), "charges.csv:3: is not CSV: ',' expected after '\"'"),
        ("charges.csv", CHARGES.replace("c2", "c" * 1_000_001), "charges.csv:3: is not CSV: field larger than"),
        ("charges.csv", CHARGES.encode("utf-16"), "charges.csv: is not CSV in UTF-8"),
        ("charges.csv", CHARGES.encode() + "café".encode("latin-1"), "charges.csv: is not CSV in UTF-8"),
        ("drivers.csv", DRIVERS.replace("weight", "value"), "drivers.csv:1: no column weight"),
        ("drivers.csv", DRIVERS.replace(",2,a", ",-2,a"), "drivers.csv:3: negative weight; weights are zero or more"),
        ("drivers.csv", DRIVERS.replace(",2,a", ",nan,a"), "drivers.csv:3: weight is not a number"),
        ("drivers.csv", DRIVERS.replace(",2,a", ",inf,a"), "drivers.csv:3: weight is not a number"),
        ("drivers.csv", DRIVERS.replace(",2,a", ",0x2,a"), "drivers.csv:3: weight is not a number"),
        ("drivers.csv", DRIVERS.replace(",2,a", ",1_000,a"), "drivers.csv:3: weight is not a number"),
        ("drivers.csv", DRIVERS.replace(",2,a", ",1e1001,a"), "drivers.csv:3: weight has more than 1000 digits"),
        ("drivers.csv", DRIVERS.replace(",2,a", ",1e-1001,a"), "drivers.csv:3: weight has more than 1000 digits"),
        ("drivers.csv", DRIVERS.replace(",2,a", ",1e999999999,a"), "drivers.csv:3: weight has more than 1000 digits"),
        ("drivers.csv", DRIVERS.replace(",2,a", ",,a"), "drivers.csv:3: weight is not a number"),
        ("drivers.csv", DRIVERS.replace("ads,2", ",2"), "drivers.csv:3: driver or target is blank"),
        ("drivers.csv", DRIVERS.replace("hours", ""), "drivers.csv:2: driver or target is blank"),
        ("drivers.csv", DRIVERS.replace("hours", "seats"), "rules.yaml:4: rule share: unknown driver hours"),
        ("drivers.csv", DRIVERS + "hours,ads,3,a\n", "rules.yaml:4: driver hours has two rows for the same key and target ads"),
        ("drivers.csv", DRIVERS.splitlines()[0], "rules.yaml:4: rule share: unknown driver hours"),
        ("drivers.csv", DRIVERS.replace("cluster\n", "usage_date\n"), "drivers.csv:2: usage_date is not a day"),
        ("rules.yaml", "", "rules.yaml:1: is not a mapping"),
        ("rules.yaml", "- a", "rules.yaml:1: is not a mapping"),
        ("rules.yaml", RULES.encode("utf-16"), "rules.yaml: cannot be read as YAML in UTF-8"),
        ("rules.yaml", RULES.replace("  - {id", "\t- {id"), "rules.yaml:4: found character '\\t'"),
        ("rules.yaml", RULES.replace("rest: \"true\"", "rest: \"true\", rest: \"true\""), "rules.yaml:2: found duplicate key"),
        ("rules.yaml", RULES.replace("[cluster]", "*keys"), "rules.yaml:4: found undefined alias"),
        ("rules.yaml", RULES.replace("rest: \"true\"", "odd: \"cost > 'much'\", rest: \"true\""), "rules.yaml:2: pool odd"),
        ("rules.yaml", RULES.replace("rest: \"true\"", "odd: \"cost > 1e400\", rest: \"true\""), "rules.yaml:"),
        ("rules.yaml", RULES.replace("by: [cluster]", "by: [region]"), "rules.yaml:4: rule share names the unknown column region"),
        ("rules.yaml", RULES.replace("driver: hours", "driver: hours, eligible: seats > 1"), "rules.yaml:4: rule share: eligible names"),
        (
            "rules.yaml",
            RULES.replace("driver: hours", "driver: hours, eligible: weight > 'few'"),
            "rules.yaml:4: rule share: eligible compares",
        ),
        (
            "rules.yaml",
            RULES + "drivers:\n  hours: select target, 1.5::double as weight from given_0\n",
            "rules.yaml:4: driver hours has weights of type DOUBLE",
        ),
        ("rules.yaml", RULES + "drivers: {hours: select 1 as x from nowhere}\n", "rules.yaml:4: driver hours: Catalog Error"),
        ("rules.yaml", RULES + "drivers: {hours: select target}\n", "rules.yaml:4: driver hours: Binder Error"),
        ("rules.yaml", RULES + "drivers: {hours: select * from read_csv('x')}\n", "rules.yaml:5: driver hours: reads something"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told_in_one_line(desk: Desk, name: str, content: str | bytes, said: str) -> None:
    desk.write(name, content)
    line = desk.refusal()
    assert line.startswith(said), line
    assert "; " in line, "what to do is missing"


@pytest.mark.parametrize("name", ["rules.yaml", "charges.csv", "drivers.csv"])
def test_a_missing_file_and_a_folder_are_refused(desk: Desk, name: str) -> None:
    (desk.folder / name).unlink()
    code, _, errors = desk.command()
    assert code == 1 and len(errors) == 1 and name in errors[0]
    (desk.folder / name).mkdir()
    code, _, errors = desk.command()
    assert code == 1 and len(errors) == 1 and name in errors[0]


def test_a_place_that_cannot_be_written_is_refused(desk: Desk) -> None:
    code, _, errors = desk.command(f"--out={desk.folder / 'no' / 'such' / 'out.csv'}")
    assert code == 1 and len(errors) == 1 and "cannot be written" in errors[0]
    (desk.folder / "out").mkdir()
    code, _, errors = desk.command(f"--out={desk.folder / 'out'}")
    assert code == 1 and len(errors) == 1 and "is a folder" in errors[0]

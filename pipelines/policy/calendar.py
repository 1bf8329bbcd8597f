"""Which days are booked and closed together: calendar months, weeks in a pattern, or periods written out.

A label is always YYYY-MM, so that periods sort and their folders say when they were. What finance calls a period is its fiscal name.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from itertools import takewhile
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from pipelines.yaml_file import Name, Strict


def _month(label: str) -> str:
    date.fromisoformat(f"{label}-01")
    return label


# Years far away are slips of the hand, and the last ones that a date can have leave no room for the period after.
Month = Annotated[str, Field(pattern=r"^2[01]\d{2}-\d{2}$"), AfterValidator(_month)]
Day = Annotated[date, Field(ge=date(1999, 1, 1), le=date(2199, 12, 31))]
Year = Annotated[int, Field(ge=2000, le=2199)]


@dataclass(frozen=True)
class Period:
    """A row of `periods`: the days [start, end) that are booked and closed together. `fiscal`: what finance calls it."""

    label: str
    start: date
    end: date
    fiscal: str | None = None

    @property
    def is_month(self) -> bool:
        """Whether it is the calendar month of its label."""
        return (self.start, self.end) == month_days(self.label)

    @property
    def days(self) -> int:
        return (self.end - self.start).days


def next_label(label: str, months: int = 1) -> str:
    """The label so many months after this one."""
    year, month = divmod(int(label[:4]) * 12 + int(label[5:]) - 1 + months, 12)
    return f"{year:04}-{month + 1:02}"


def month_days(label: str) -> tuple[date, date]:
    """First day of the calendar month, and of the one after it."""
    return date.fromisoformat(f"{label}-01"), date.fromisoformat(f"{next_label(label)}-01")


class Weeks(Strict):
    """Years of twelve periods of whole weeks, each quarter in the pattern. A 53rd week is in the last period of its year.

    `year_starts` is the first day of the first of `years`; how many weeks each has is what finance decided, never a guess.
    """

    pattern: Literal["4-4-5", "4-5-4", "5-4-4"]
    year_starts: Day
    years: dict[Year, Literal[52, 53]] = Field(min_length=1)

    def all(self) -> Iterator[Period]:
        """Their labels count on, month by month, from the one in which most of the first period lies."""
        weeks = [int(part) for part in self.pattern.split("-")] * 4
        start = self.year_starts
        label = f"{start + timedelta(weeks=weeks[0]) / 2:%Y-%m}"
        for year, long in self.years.items():
            for number, length in enumerate(weeks, start=1):
                end = start + timedelta(weeks=length + (number == 12) * (long - 52))
                yield Period(label, start, end, f"FY{year} P{number:02}")
                start, label = end, next_label(label)


class DatedPeriod(Strict):
    """One period written out; `to` is the first day of the next. `name`: what finance calls it."""

    label: Month
    start: Day = Field(alias="from")
    end: Day = Field(alias="to")
    name: Name | None = None


class Calendar(Strict):
    """Calendar months, unless `weeks` or `periods` say otherwise.

    `fiscal_year_starts_in`: the month in which the fiscal year of calendar months begins. It is named by the year it ends in.
    """

    first_period: Month
    fiscal_year_starts_in: int | None = Field(None, ge=1, le=12)
    weeks: Weeks | None = None
    periods: list[DatedPeriod] | None = Field(None, min_length=1)
    soft_close_working_day: int = Field(2, ge=1, le=20)
    holidays: list[date] = []
    ends_on: Day | None = None

    def all(self) -> Iterator[Period]:
        """Every period that is declared, oldest first; of calendar months from the first period on, without end."""
        if self.periods:
            yield from (Period(one.label, one.start, one.end, one.name) for one in self.periods)
        elif self.weeks:
            yield from self.weeks.all()
        else:
            label = self.first_period
            while True:
                yield Period(label, *month_days(label), self._fiscal(label))
                label = next_label(label)

    def until(self, day: date) -> list[Period]:
        """The periods that have begun on this day, from the first one with statements on."""
        begun = takewhile(lambda period: period.start <= day, self.all())
        return [period for period in begun if period.label >= self.first_period]

    def holding(self, day: date) -> Period | None:
        """The period of a day; nothing where none is declared for it."""
        begun = self.until(day)
        return begun[-1] if begun and day < begun[-1].end else None

    def begins_period(self, day: date) -> bool:
        """Whether no period is cut in two by this day."""
        if self.last_day is None:
            return day.day == 1
        return not any(period.start < day < period.end for period in self.all()) and day <= self.last_day + timedelta(days=1)

    @property
    def last_day(self) -> date | None:
        """The last day that is declared; calendar months have none."""
        if self.periods:
            return self.periods[-1].end - timedelta(days=1)
        return list(self.weeks.all())[-1].end - timedelta(days=1) if self.weeks else None

    @property
    def is_monthly(self) -> bool:
        """Whether every period is a calendar month, so that a vendor's month is one of ours."""
        return self.last_day is None or all(period.is_month for period in self.all())

    def _fiscal(self, label: str) -> str | None:
        if self.fiscal_year_starts_in is None:
            return None
        year, month = int(label[:4]), int(label[5:])
        ends_later = 1 < self.fiscal_year_starts_in <= month
        return f"FY{year + ends_later} P{(month - self.fiscal_year_starts_in) % 12 + 1:02}"

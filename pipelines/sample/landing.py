"""Puts the sample company's files where they would land, morning by morning, and its policy into an empty home."""

from __future__ import annotations

import os
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path

from pipelines.errors import Refused
from pipelines.home import Home, asset
from pipelines.sample.arrivals import Arrival, arrivals
from pipelines.sample.truth import Truth

MORNING = time(5, 0, tzinfo=UTC)


def policy_files() -> Path:
    """The folder of the sample company's policy, as shipped."""
    return asset("data", "policy")


def install(home_root: Path) -> list[Path]:
    """Copies the sample policy and the list prices into a home; returns what was copied.

    What is there already and equal is left alone; a file that differs is refused before anything is written.
    """
    home = Home(home_root)
    wanted: dict[Path, bytes] = {}
    for folder, target in ((policy_files(), home.policy), (asset("data", "list_prices"), home.list_prices)):
        for source in sorted(folder.rglob("*")):
            if source.is_file():
                wanted[target / source.relative_to(folder)] = source.read_bytes()
    new = [path for path, data in wanted.items() if _is_new(path, data, "policy")]
    for path in new:
        _write(path, wanted[path])
    return new


def write(home_root: Path, through: date, truth: Truth | None = None) -> list[Path]:
    """Writes every file that has arrived by the morning after `through`; returns the new ones, in order of arrival.

    Equal files are left as they are; a file with other content is refused. A file's time is the morning it arrived.
    """
    landing = Home(home_root).landing
    new: list[Path] = []
    for arrival in arrivals(truth or Truth.make()):
        if arrival.arrives <= through + timedelta(days=1):
            path, data = landing / arrival.path, arrival.content()
            if _is_new(path, data, "landing"):
                _write(path, data)
                _set_time(path, arrival)
                new.append(path)
    return new


def _is_new(path: Path, data: bytes, what: str) -> bool:
    if not path.exists():
        return True
    if path.read_bytes() != data:
        raise Refused(
            f"another file of this name is in the {what} folder", str(path), "use an empty home for the sample"
        )
    return False


def _write(path: Path, data: bytes) -> None:
    """Beside the target first, then renamed: nobody sees half a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    half = path.with_name(f".{path.name}.part")
    half.write_bytes(data)
    half.replace(path)


def _set_time(path: Path, arrival: Arrival) -> None:
    moment = datetime.combine(arrival.arrives, MORNING).timestamp()
    os.utime(path, (moment, moment))

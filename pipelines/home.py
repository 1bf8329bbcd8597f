"""Every path of a home, and the assets that ship with the program."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from pipelines.errors import Refused

PACKAGE = Path(__file__).resolve().parent
CHECKOUT = PACKAGE.parent


def asset(*parts: str) -> Path:
    """A shipped file or folder: in the checkout, or inside the installed package."""
    in_checkout = CHECKOUT.joinpath(*parts)
    return in_checkout if in_checkout.exists() else PACKAGE.joinpath("_assets", *parts)


@dataclass(frozen=True)
class Home:
    """One directory that holds a company's policy, inputs, memory and results."""

    root: Path

    @classmethod
    def find(cls, given: str | os.PathLike[str] | None = None) -> Home:
        """The home that was given, else `APPORTION_HOME`, else the checkout; refused where its path leads through a file."""
        root = Path(given or os.environ.get("APPORTION_HOME") or CHECKOUT).resolve()
        for path in (root, *root.parents):
            if path.is_file():
                raise Refused("is a file, and a home is a folder", str(path), "name a folder with --home or APPORTION_HOME")
        return cls(root)

    def require_policy(self) -> Home:
        if not self.policy.is_dir():
            raise Refused("no data/policy/ here", str(self.root), f"make a home with: apportion init --home {self.root}")
        return self

    @property
    def data(self) -> Path:
        return self.root / "data"

    @property
    def policy(self) -> Path:
        return self.data / "policy"

    @property
    def list_prices(self) -> Path:
        return self.data / "list_prices"

    @property
    def landing(self) -> Path:
        return self.data / "landing"

    @property
    def books(self) -> Path:
        return self.data / "books"

    @property
    def lake(self) -> Path:
        return self.data / "lake"

    @property
    def warehouse(self) -> Path:
        return self.data / "warehouse.duckdb"

    @property
    def published(self) -> Path:
        return self.data / "published"

    @property
    def current(self) -> Path:
        return self.published / "current.duckdb"

    @property
    def scratch(self) -> Path:
        """Spill files of the engine: private, wiped at every start."""
        return self.data / ".scratch"

    @property
    def lock(self) -> Path:
        return self.data / ".lock"

    @property
    def reports(self) -> Path:
        return self.root / "reports"

"""The metadata that FOCUS 1.0 and later let a vendor put beside the data: JSON of one schema, or of all collections.

A schema has `SchemaId`, `FocusVersion` and `ColumnDefinition`, a list of `ColumnName` and types. A vendor adds a schema when the columns
or the version change and keeps the older ones, and what ties a file to its schema is the vendor's own: so a file has to fit one of them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipelines.errors import Refused
from pipelines.sources import Delivery
from pipelines.sources.reading import are_missing, read_text, where

COLLECTIONS = ("Schema", "DataGenerator", "DatasetInstance", "Recency")  # any of them makes a document one of FOCUS metadata


@dataclass(frozen=True)
class Schema:
    """What one schema declares."""

    id: str
    version: str  # '' where it does not say
    created: str
    columns: tuple[str, ...]

    def problem(self, header: Iterable[str]) -> str | None:
        """What a file with this header has not of it; the seller's column has another name from 1.3 on."""
        number = _number(self.version)
        if self.version and number is None:
            return f"the schema beside it is of FOCUS {self.version[:20]}, and 1.0 to 1.5 are read"
        seller = [] if number is None else ["ServiceProviderName" if number >= 3 else "ProviderName"]
        header = list(header)
        there = {name.lower() for name in header}
        missing = [name for name in dict.fromkeys([*self.columns, *seller]) if name.lower() not in there]
        return f"{are_missing(missing, header)}, which schema {self.id} of FOCUS {self.version or '?'} beside it declares" if missing else None


def describe(text: str) -> str:
    """What a metadata document says, in words; ValueError where it is none."""
    said = [f"schema {schema.id} of FOCUS {schema.version or '?'}, {len(schema.columns)} columns" for schema in read(text)]
    return "; ".join(said) or "FOCUS metadata without a schema of Cost and Usage"


def read(text: str) -> list[Schema]:
    """The schemas of Cost and Usage in a metadata document; ValueError where it is none."""
    said = json.loads(text)
    if not isinstance(said, dict) or not ({"ColumnDefinition", "FocusVersion", *COLLECTIONS} & said.keys()):
        raise ValueError("not FOCUS metadata")
    listed = said.get("Schema", said)
    found = []
    for schema in listed if isinstance(listed, list) else [listed]:
        if not isinstance(schema, dict):
            raise ValueError("a schema that is not an object")
        dataset = re.sub("[^a-z]", "", str(schema.get("Dataset") or schema.get("FocusDataset") or "costandusage").lower())
        if dataset.endswith("costandusage") and ("ColumnDefinition" in schema or "FocusVersion" in schema):
            defined = schema.get("ColumnDefinition") or []
            if not isinstance(defined, list):
                raise ValueError("columns that are not a list")
            columns = tuple(_name(column) for column in defined)
            id, version, created = (_text(schema.get(name)) for name in ("SchemaId", "FocusVersion", "CreationDate"))
            found.append(Schema(id or "without an id", version, created, columns))
    return found


def check(delivery: Delivery, path: Path, header: Sequence[str]) -> None:
    """Refuses a file that fits none of the schemas beside it, with the problem of the newest."""
    schemas = [schema for beside in delivery.beside for schema in read(read_text(delivery, beside))]
    problems = {schema: schema.problem(header) for schema in schemas}
    if problems and all(problems.values()):
        newest = max(schemas, key=lambda schema: schema.created)
        fix = "deliver the file with all its columns, or the schema that describes it"
        raise Refused(str(problems[newest]), where(delivery, path), fix)


def _text(value: Any) -> str:
    """In one short line, since it is told."""
    return " ".join(str(value or "").split())[:60]


def _name(column: Any) -> str:
    if not isinstance(column, dict) or not isinstance(column.get("ColumnName"), str):
        raise ValueError("a column without a name")
    return column["ColumnName"]


def _number(version: str) -> int | None:
    """2 of `1.2`, `v1.2`, `1.2-preview` and `1.2.0.1`; None of a version that is not read."""
    found = re.match(r"v?1\.([0-5])(?!\d)", version)
    return int(found[1]) if found else None

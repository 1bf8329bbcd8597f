"""Gateway logs of JSON lines that are read by a declaration: where each field stands, and what little is made of it.

A `Log` names texts and the places where each may stand; a place is a name in the record, with dots that lead into nested
objects, or a JSON path that starts with `$`. The first place that is not blank counts. A text under a canonical name is
that field; `made` is SQL over the texts for fields that need more. Nothing else of a record is read.

A source may say better in sources.yaml: its `fields` (as of format `mapped`) take the place of texts of the log, and
`tokens: exclusive` says that this company's log does not count cached input and reasoning in its totals.
"""

from __future__ import annotations

import glob
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import duckdb

from pipelines.sources import Delivery, Format, reading
from pipelines.sources.fields import Mapped, expression, fields_of
from pipelines.sources.gateway.lines import (
    BAD_RECORD,
    JSON_SUFFIXES,
    LOGGED,
    clean,
    every_line,
    in_lines,
    json_records,
    macros,
    note_ignored,
    number_lines,
)
from pipelines.sources.gateway.mapped import ALIASES
from pipelines.sources.texts import json_path, json_paths

SAID = (
    "project", "application", "environment", "customer_id", "user_tier", "request_type", "triggered_by", "vector_index_id",
    "session_id", "routing_reason", "quality_score", "system_prompt_tokens",
)  # fmt: skip
CALLER_NAMES = {"gateway_team": "team", **{name: name for name in SAID}}


def context(*parents: str) -> dict[str, tuple[str, ...]]:
    """The team and the business context among a caller's own keys below `parents`: customer_id, customer-id, Customer-Id."""
    spellings = {name: (key, key.replace("_", "-"), key.replace("_", "-").title()) for name, key in CALLER_NAMES.items()}
    return {
        name: tuple(f"{parent}.{key}" for parent in parents for key in dict.fromkeys(keys)) for name, keys in spellings.items()
    }


@dataclass(frozen=True)
class Call:
    """One call that a record tells of: the condition under which it does, and `made` and `refuse` of this call."""

    when: str = "true"
    made: Mapping[str, str] = field(default_factory=dict)
    refuse: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Log:
    """`inclusive`: input contains cached and audio tokens, output reasoning and audio (lines.clean proves it per row).

    `refuse`: reason -> condition that a good record never meets. `opened`: places of objects that may be written as text;
    other places lead into them by the same name. A record of which no call is true is rejected: not_a_model_call.
    """

    name: str
    inclusive: bool
    texts: Mapping[str, str | tuple[str, ...]]
    made: Mapping[str, str] = field(default_factory=dict)
    calls: tuple[Call, ...] = (Call(),)
    refuse: Mapping[str, str] = field(default_factory=dict)
    opened: tuple[str, ...] = ()
    nothing: tuple[str, ...] = ("",)
    made_ids: bool = False

    def format(self) -> Format:
        several = len(self.calls) > 1
        return Format(
            self.name, "gateway", JSON_SUFFIXES, self.read, line_records=not several and in_lines, in_lines=in_lines,
            small_files=not self.made_ids,
        )  # fmt: skip

    def read(self, con: duckdb.DuckDBPyConnection, delivery: Delivery, source: Any) -> None:
        """`parsed`: one row per call of each non-blank line, at least one per line."""
        macros(con)
        reading.macros(con)
        own = fields_of(getattr(source, "fields", None), LOGGED, ALIASES, "usage_events")
        texts, params = self._texts(con, delivery, own)
        inclusive = self.inclusive and getattr(source, "tokens", None) != "exclusive"
        if len(self.calls) == 1:
            (call,) = self.calls
            fault = f"case when bad_record or ({call.when}) then {_fault({**self.refuse, **call.refuse})} else 'not_a_model_call' end"
            logged = f"select source_row, bad_record, {self._columns(call, own)}, {fault} as fault from ({texts})"
            clean(con, logged, params, inclusive=inclusive, made_ids=self.made_ids, fault="fault")
        else:
            con.execute(f"create or replace temp table texts as {texts}", params)
            if in_lines(source, delivery.paths[0]):
                every_line(con, delivery, "texts")
            whens = " or ".join(f"({call.when})" for call in self.calls)
            selects = [
                f"select source_row, bad_record, {self._columns(call, own)}, {_fault({**self.refuse, **call.refuse})} as fault"
                f" from texts where not bad_record and ({call.when})"
                for call in self.calls
            ]
            none = f"select source_row, bad_record, 'not_a_model_call' as fault from texts where bad_record or not coalesce({whens}, false)"
            clean(con, " union all by name ".join([*selects, none]), inclusive=inclusive, made_ids=self.made_ids, fault="fault")
            con.execute("drop table texts")
        number_lines(con, delivery)

    def _columns(self, call: Call, own: dict[str, Mapped]) -> str:
        """What a call's row says, over its texts."""
        made = {name: sql for name, sql in {**self.made, **call.made}.items() if name not in own or name in self.texts}
        fields = {name: name for name in (*self.texts, *own) if name in LOGGED} | made
        fields |= {"occurred_at": f"any_time({fields['occurred_at']}, 'UTC')"}
        return ", ".join(f"({sql})::{'timestamp' if name == 'occurred_at' else 'varchar'} as {name}" for name, sql in fields.items())

    def _texts(self, con: duckdb.DuckDBPyConnection, delivery: Delivery, own: dict[str, Mapped]) -> tuple[str, dict[str, Any]]:
        """A SELECT of source_row, bad_record and each text, and its values; every record is parsed once, whatever is read of it. Notes what is not read."""
        places = _Places(self.opened, self.nothing)
        params: dict[str, Any] = {"path": glob.escape(str(delivery.paths[0]))}
        columns = {name: places.first(where) for name, where in self.texts.items()}
        for name, said in own.items():
            there = {said.column: places.first(said.column)} if said.column else {}
            columns[name] = expression(name, said, there, params)
        selects = ", ".join(f"{sql} as {name}" for name, sql in columns.items())
        documents = "".join(f", found[{places.index(json_path(name.split('.')))}] as document_{n}" for n, name in enumerate(self.opened))
        found = "".join(f", if(json_valid(document_{n}), document_{n}, null) ->> $inside_{n} as found_{n}" for n in range(len(self.opened)))
        note_ignored(con, delivery.paths[0], places.names())
        params |= {"places": places.paths[""]} | {f"inside_{n}": places.paths[name] for n, name in enumerate(self.opened)}
        return (
            f"""
            with records as (
                select ordinality as source_row, {BAD_RECORD} as bad_record, json ->> $places as found
                from {json_records(delivery.paths[0])}
            ),
            documents as (select *{documents} from records),
            opened as (select *{found} from documents)
            select source_row, bad_record, {selects} from opened
            """,
            params,
        )


class _Places:
    """JSON paths to ask a record for, and the SQL that finds the answer to each."""

    def __init__(self, opened: tuple[str, ...], nothing: tuple[str, ...]) -> None:
        self.paths: dict[str, list[str]] = {"": [], **{name: [] for name in opened}}
        self.columns = {"": "found", **{name: f"found_{n}" for n, name in enumerate(opened)}}
        self.nothing = ", ".join(_literal(text) for text in nothing)

    def first(self, where: str | tuple[str, ...]) -> str:
        """The first text that is not blank among the places."""
        found = [text for place in ([where] if isinstance(where, str) else where) for text in self._of(place)]
        return f"coalesce({', '.join(found)})"

    def index(self, path: str, parent: str = "") -> int:
        """The position, from 1, of the answer to this path; each is asked for once."""
        if path not in self.paths[parent]:
            self.paths[parent].append(path)
        return self.paths[parent].index(path) + 1

    def names(self) -> set[str]:
        """The top-level names that a record is asked for."""
        found = (re.match(r'\$\.("(?:[^"\\]|\\.)*"|[^.\[]+)', path) for path in self.paths[""])
        return {name[1].strip('"').replace('\\"', '"') for name in found if name}

    def _of(self, place: str) -> list[str]:
        parent = next((name for name in self.paths if name and place.startswith(f"{name}.")), "")
        inner = place[len(parent) + 1 :] if parent else place
        wanted = [inner] if inner.startswith("$") else json_paths(inner)
        texts = [f"{self.columns[parent]}[{self.index(path, parent)}]" for path in wanted]
        return [f"case when trim({text}) not in ({self.nothing}) then {text} end" for text in texts]


def _fault(refuse: Mapping[str, str]) -> str:
    cases = " ".join(f"when {condition} then {_literal(reason)}" for reason, condition in refuse.items())
    return f"case {cases} end" if cases else "null"


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"

"""What the readers of gateway logs share: JSON records with their physical numbers, and checks of every row.

A reader says a SELECT of texts under the canonical names; `clean` makes `parsed` of it.
"""

from __future__ import annotations

import glob
import json
from collections.abc import Iterable, Mapping
from itertools import chain, islice
from pathlib import Path
from typing import Any

import duckdb

from pipelines.content import BOM, blank_runs, open_content
from pipelines.errors import Refused
from pipelines.sources import EVENT, Delivery
from pipelines.sources.reading import where
from pipelines.warehouse import define

Shape = Mapping[str, Any]  # of a record: field -> SQL type, or the shape of the object it holds

# Records of a file whose names are compared with those that are read: all of them would cost a second parse. They stand in so many
# places of the file, of each place so many bytes.
LOOKED_AT, PLACES, LOOKED_BYTES = 2_000, 16, 1 << 20
RUNS = 50_000  # of blank lines, at once
MAX_TOKENS = 1_000_000_000_000
JSON_SUFFIXES = (".jsonl", ".jsonl.gz", ".json", ".json.gz", ".ndjson", ".ndjson.gz")
LINES = "read_ndjson_objects($path, ignore_errors = true, maximum_object_size = 16777216) with ordinality"
BAD_RECORD = "json is null or not regexp_matches(json::varchar, '^\\s*\\{')"  # of json_records: no JSON, or no object
DOCUMENT = "read_json_objects($path, format = '{}', maximum_object_size = 16777216) with ordinality"

# Counts of a row, in the order in which they are checked. The log's own totals: `input_tokens` and `output_tokens`.
COUNTS = (
    "input_tokens", "cache_read_tokens", "cache_write_5m_tokens", "cache_write_1h_tokens", "output_tokens",
    "reasoning_tokens", "audio_input_tokens", "audio_output_tokens", "avoided_input_tokens", "avoided_output_tokens",
    "images", "search_units", "queries", "requests",
)  # fmt: skip
ODD_COUNTS = {  # reason -> what is wrong with a count written as {t}
    "tokens_not_integer": "not whole_number({t})",
    "negative_tokens": "starts_with({t}, '-') and {t} not in ('-0', '-0.0')",
    "absurd_tokens": f"len(regexp_extract({{t}}, '^-?0*(\\d+)', 1)) > 13 or count_of({{t}}) > {MAX_TOKENS}",
}
TEXTS = tuple(name for name, kind in EVENT.items() if kind == "VARCHAR" and name not in ("status", "gateway_cache", "api_key_id"))
OPERATIONS = (
    "chat", "completion", "embedding", "rerank", "vector_query", "index_write", "index_maintenance", "fine_tune",
    "image", "audio",
)  # fmt: skip
LOGGED = (*(name for name in EVENT if name != "input_uncached_tokens"), "input_tokens")  # columns of that SELECT, beside source_row and bad_record

# said           a text without space around it; NULL where nothing is left
# whole_number   a count written as a whole number, 12 or 12.0
# added          two counts together; NULL where one of them is no count
# less           a total without a part of it, both texts; the total as it stands where it is no count
# safe_key       an id of a key as it is; a secret key as its SHA-256, which is what gateways store of it
# http_outcome   the status of a call from its HTTP status; below 100 is a gateway's own code for a call that broke off
# operation_of   what a call did, from a path or the name of an API; 'other' where it says nothing
MACROS = """
create or replace temp macro said(t) as
    case when strlen(t) <> length(t) or contains(t, ' ') then nullif(trim(t), '') when t <> '' then t end;
create or replace temp macro whole_number(t) as regexp_full_match(t, '-?\\d+(\\.0+)?');
create or replace temp macro count_of(t) as coalesce(try_cast(regexp_extract(t, '^-?\\d+') as bigint), 0);
create or replace temp macro added(one, other) as
    case when coalesce(whole_number(one), true) and coalesce(whole_number(other), true) then count_of(one)::hugeint + count_of(other) end;
create or replace temp macro less(total, part) as
    case when whole_number(total) then (count_of(total) - count_of(part))::varchar else total end;
create or replace temp macro http_outcome(t) as case
    when regexp_full_match(t, '2\\d\\d') then 'success'
    when regexp_full_match(t, '-?\\d{1,3}') then 'failure'
    else t end;
create or replace temp macro operation_of(t) as case
    when regexp_matches(lower(t), 'embed') then 'embedding'
    when regexp_matches(lower(t), 'rerank') then 'rerank'
    when regexp_matches(lower(t), 'image') then 'image'
    when regexp_matches(lower(t), 'audio|speech|transcri|translation|realtime') then 'audio'
    when regexp_matches(lower(t), 'fine_?tun') then 'fine_tune'
    when regexp_matches(lower(t), 'chat|messages|responses|converse|generatecontent') then 'chat'
    when regexp_matches(lower(t), 'completion') then 'completion'
    else 'other' end;
create or replace temp macro safe_key(t) as
    case when regexp_matches(t, '^(sk-|sk_|AKIA|AIza|gsk_|xai-|pcsk_|(?i:bearer) |(sess-|ya29\\.|fw_|hf_|r8_|nvapi-|pplx-|tgp_v1_|dapi|eyJ)[\\w.-]{16})')
        then sha256(t) else t end;
create or replace temp macro in_range(t) as
    case when t between timestamp '2000-01-01' and timestamp '2199-12-31 23:59:59.999999' then t end;
create or replace temp macro epoch_time(t) as in_range(make_timestamp((case
    when abs(try_cast(t as decimal(32, 9))) < 100000000000 then round(try_cast(t as decimal(32, 9)) * 1000000, 0)
    when abs(try_cast(t as decimal(32, 9))) < 100000000000000 then round(try_cast(t as decimal(32, 9)) * 1000, 0)
    when abs(try_cast(t as decimal(32, 9))) < 100000000000000000 then round(try_cast(t as decimal(32, 9)), 0)
    when abs(try_cast(t as decimal(32, 9))) < 100000000000000000000 then round(try_cast(t as decimal(32, 9)) * 0.001, 0)
    end)::bigint));
create or replace temp macro written_time(t, zone) as in_range(case
    when regexp_matches(t, ':\\d\\d(\\.\\d+)? ?(Z|UTC|[+-]\\d\\d(:?\\d\\d)?)$') then timezone('UTC', try_cast(t as timestamptz))
    when regexp_matches(t, '^\\d{4}-\\d\\d-\\d\\d[ T]\\d') then timezone('UTC', timezone(zone, try_cast(t as timestamp)))
    end);
create or replace temp macro any_time(t, zone) as case
    when try_cast(t as decimal(18, 6)) between 946684800 and 7258118399.999999
        then make_timestamp((try_cast(t as decimal(18, 6))::decimal(25, 6) * 1000000)::bigint)
    when regexp_full_match(t, '\\d+(\\.\\d+)?([eE]\\+?\\d+)?') then epoch_time(t) else written_time(t, zone) end;
"""


def macros(con: duckdb.DuckDBPyConnection) -> None:
    define(con, MACROS)


def layout(path: Path) -> str:
    """How a JSON file holds its records: in `lines`, as one `array`, or as a single object written over many lines."""
    if not path.name.endswith((".json", ".json.gz")):
        return "lines"
    with open_content(path) as handle:
        start = handle.read(4096).removeprefix(BOM).lstrip()
    if start.startswith(b"["):
        return "array"
    return "unstructured" if start.split(b"\n")[0].rstrip() == b"{" else "lines"


def in_lines(_source: object, path: Path) -> bool:
    return path.name.endswith(JSON_SUFFIXES) and layout(path) == "lines"


def json_records(path: Path) -> str:
    """What to select `json` and `ordinality` from; the file is bound as $path."""
    how = layout(path)
    return LINES if how == "lines" else DOCUMENT.format(how)


def typed_records(path: Path, shape: Shape) -> tuple[str, dict[str, Any]]:
    """A SELECT of source_row, bad_record and `f`, the fields of `shape` in each record, and its values; parsed once.

    A line that is JSON and no object has a row of nothing here, like an object without any of the fields: `clean` finds it
    by its missing id and `not_objects` tells them apart.
    """
    file = {"path": glob.escape(str(path))}
    if layout(path) == "lines":
        return (
            "select ordinality as source_row, f is null as bad_record, f from read_json($path, columns = $columns, records = 'false',"
            " format = 'newline_delimited', ignore_errors = true, maximum_object_size = 16777216) with ordinality",
            file | {"columns": {"f": _struct(shape)}},
        )
    return (
        f"select ordinality as source_row, {BAD_RECORD} as bad_record, json_transform(json, $shape) as f"
        f" from {json_records(path)}",
        file | {"shape": json.dumps(shape)},
    )


def not_objects(con: duckdb.DuckDBPyConnection, path: Path) -> None:
    """Lines that hold JSON and no object, rejected so far for their missing id, are bad JSON; a second look only where there are some."""
    if con.execute("select count(*) from parsed where reject = 'missing_event_id'").fetchall()[0][0]:
        con.execute(
            "update parsed set reject = 'bad_json' where reject = 'missing_event_id'"
            f" and source_row in (select ordinality from {json_records(path)} where json_type(json) <> 'OBJECT')",
            {"path": glob.escape(str(path))},
        )


def _struct(shape: Shape) -> str:
    fields = (f'"{name}" {_struct(kind) if isinstance(kind, Mapping) else kind}' for name, kind in shape.items())
    return f"STRUCT({', '.join(fields)})"


def note_ignored(con: duckdb.DuckDBPyConnection, path: Path, read: Iterable[str], names: str = "json_keys(json)") -> None:
    """Temp table `ignored` of the names in some records that are not in `read`; `names` is the SQL that lists those of a record.

    Of a plain file of lines the records are spread over it, and `place` is the byte at which one starts; of others they are the first ones.
    """
    if layout(path) == "lines" and not path.name.endswith(".gz"):
        looked = _spread(path)
        records = "select unnest($at)::bigint as place, unnest($lines)::varchar as line"
        records = f"select place, try_cast(line as json) as json from ({records})"
        params: dict[str, Any] = {"at": [at for at, _ in looked], "lines": [line.decode(errors="replace") for _, line in looked]}
    else:
        records = f"select ordinality as place, json from {json_records(path)} limit {LOOKED_AT}"
        params = {"path": glob.escape(str(path))}
    con.execute(
        f"""
        create or replace temp table ignored as
        with looked as materialized (
            select place, {names} as names from ({records}) where json_type(json) = 'OBJECT'
        ),
        different as (
            select names, list_distinct(list_filter(names, lambda name: not list_contains($read::varchar[], name))) as unread
            from (select distinct names from looked)
        )
        select l.place, coalesce(d.unread, []) as names, 1::bigint as records
        from looked l
        left join different d on d.names = l.names
        """,
        params | {"read": list(read)},
    )


def _spread(path: Path) -> list[tuple[int, bytes]]:
    """Lines from places all over the file, each with the byte at which it starts; a short file's are all there."""
    found: list[tuple[int, bytes]] = []
    size = path.stat().st_size
    with open(path, "rb") as file:
        for n in range(PLACES):
            place = n * size // PLACES
            if place > file.tell():
                file.seek(place - 1)
                file.readline()  # the line before, or its end
            at = start = file.tell()
            for line in islice(file, LOOKED_AT // PLACES):
                if not line.isspace():
                    found.append((at, line))
                at += len(line)
                if at - start > LOOKED_BYTES:
                    break
            file.seek(at)
    return found


def every_line(con: duckdb.DuckDBPyConnection, delivery: Delivery, table: str) -> None:
    """Where a line may hold several events or none: proof that no line of the file was passed over."""
    (read,) = con.execute(f"select count(*) from {table}").fetchall()[0]
    if read != delivery.lines - delivery.blank:
        what = f"{delivery.lines} lines, {delivery.blank} of them blank, but {read} records"
        raise Refused(what, where(delivery, delivery.paths[0]), "deliver one record per line")


def tag(name: str, tags: str = "tags") -> str:
    """The value of a tag such as `application:search` in a list of texts."""
    return f"list_filter({tags}, lambda t: starts_with(t, '{name}:'))[1][{len(name) + 2}:]"


def clean(
    con: duckdb.DuckDBPyConnection, logged: str, params: Mapping[str, Any] | None = None, *,
    inclusive: bool, made_ids: bool = False, fault: str = "null",
) -> None:  # fmt: skip
    """Temp table `parsed` from a SELECT: texts, counts as logged, `occurred_at` TIMESTAMP, `source_cost`, `bad_record`.

    `inclusive`: the log's input contains cache reads, cache writes and audio, its output reasoning and audio. A row
    whose parts exceed their total is rejected, never clamped. `made_ids`: rows have no id of their own; equal rows
    of a delivery are told apart by their count. `fault`: the reader's own reason to reject a row, or NULL. What a log
    does not have, its SELECT need not have.
    """
    there = _said_by(con, logged, params or {})
    usual = {"requests": "1"}
    absent = "".join(f", '{usual[name]}' as {name}" if name in usual else f", null::varchar as {name}" for name in LOGGED if name not in there)
    names = {name: name for name in EVENT}
    names |= {name: f"said({name})" for name in TEXTS}
    names |= {
        "event_version": "coalesce(said(event_version), '')",
        "api_key_id": "safe_key(said(api_key_id))",
        "operation": f"if(doing in {OPERATIONS}, doing, 'other')",
        "attempt": "greatest(coalesce(try_cast(attempt as integer), 1), 1)",
        "status": "outcome",
        "gateway_cache": "if(hit, if(cache = 'semantic', 'semantic', 'exact'), 'none')",
        "quality_score": "try_cast(quality_score as decimal(9, 6))",
        "system_prompt_tokens": f"case when whole_number(said(system_prompt_tokens)) and count_of(said(system_prompt_tokens)) between 0 and {MAX_TOKENS}"
        " then count_of(said(system_prompt_tokens)) end",
        "latency_ms": "try_cast(try_cast(latency_ms as decimal(24, 6)) as bigint)",
        "avoided_input_tokens": "if(hit and n_avoided_input_tokens = 0, n_input_tokens, n_avoided_input_tokens)",
        "avoided_output_tokens": "if(hit and n_avoided_output_tokens = 0, n_output_tokens, n_avoided_output_tokens)",
        "input_uncached_tokens": "if(hit, 0, fresh_input)",
        "output_tokens": "if(hit, 0, fresh_output)",
        "source_cost": "try_cast(source_cost as decimal(38, 12))",
    }
    for name in COUNTS:
        if name in EVENT and name not in ("output_tokens", "avoided_input_tokens", "avoided_output_tokens"):
            names[name] = f"if(hit, 0, n_{name})"
    inside_input = " - n_cache_read_tokens - n_cache_write_5m_tokens - n_cache_write_1h_tokens - n_audio_input_tokens"
    inside_output = " - n_reasoning_tokens - n_audio_output_tokens"
    counted = [name for name in COUNTS if name in there]
    numbers = "".join(f", try_cast({name} as bigint) as i_{name}" for name in counted)
    # Nearly every count is written as plain digits; only rows where one is not are looked at more closely.
    plain = " and ".join(f"({name} is null or (i_{name}::varchar = {name} and i_{name} between 0 and {MAX_TOKENS}))" for name in counted)
    counts = ", ".join(
        f"if(plain, coalesce(i_{name}, 0), count_of(trim({name}))) as n_{name}"
        if name in there
        else f"{usual.get(name, '0')}::bigint as n_{name}"
        for name in COUNTS
    )
    odd = " ".join(f"when {_any(counted, condition)} then '{reason}'" for reason, condition in ODD_COUNTS.items())
    made = "if(id is null, 'row-' || body || '-' || row_number() over (partition by id, body order by source_row), id)"
    body = ", ".join(f"{name}::varchar" for name in LOGGED if name != "event_id")
    event_id = made if made_ids else "id"
    columns = ",\n    ".join(f"{names[name]} as {name}" for name in EVENT if name != "event_id")
    types = ", ".join(f"{name}::{kind} as {name}" for name, kind in EVENT.items())
    con.execute(
        f"""
        create or replace temp table parsed as
        with numbers as (
            select
                *{numbers},
                lower(said(operation)) as doing,
                lower(said(gateway_cache)) as cache,
                coalesce(lower(said(status)), 'success') as outcome,
                said(event_id) as id
                {f", md5(to_json([{body}])::varchar) as body" if made_ids else ""}
            from (select *{absent} from ({logged}))
        ),
        checked as (
            select
                *, coalesce({plain or "true"}, false) as plain,
                coalesce(cache in ('exact', 'semantic', 'hit', 'true', '1'), false) as hit
            from numbers
        ),
        counted as (
            select *, {counts}, case when not plain then case {odd} end end as odd_count from checked
        ),
        split as (
            select
                *,
                n_input_tokens{inside_input if inclusive else ""} as fresh_input,
                n_output_tokens{inside_output if inclusive else ""} as fresh_output
            from counted
        ),
        named as (
            select
                {event_id} as event_id,
                {columns},
                source_row,
                case
                    when bad_record then 'bad_json'
                    when ({fault}) is not null then {fault}
                    when {"false" if made_ids else "id is null"} then 'missing_event_id'
                    when occurred_at is null then 'bad_timestamp'
                    when odd_count is not null then odd_count
                    when outcome not in ('success', 'failure') then 'bad_status'
                    when not hit and (fresh_input < 0 or fresh_output < 0) then 'tokens_not_disjoint'
                end as reject
            from split
        )
        select {types}, source_row::bigint as source_row, reject
        from named
        """,
        params or {},
    )


_SAID: dict[str, frozenset[str]] = {}  # by SELECT, of the last ones
_KEPT = 256


def _said_by(con: duckdb.DuckDBPyConnection, logged: str, params: Mapping[str, Any]) -> frozenset[str]:
    """The columns of a SELECT that names each of them: asked once, since planning takes longer than reading a small file."""
    if logged not in _SAID:
        if len(_SAID) == _KEPT:
            _SAID.clear()
        _SAID[logged] = frozenset(row[0] for row in con.execute(f"describe {logged}", params).fetchall())
    return _SAID[logged]


def _any(names: list[str], condition: str) -> str:
    """Whether a count that is written down meets a condition on its text `{t}`."""
    conditions = {name: condition.replace("{t}", f"trim({name})") for name in names}
    return " or ".join(f"({name} <> '' and ({sql}))" for name, sql in conditions.items()) or "false"


def number_lines(con: duckdb.DuckDBPyConnection, delivery: Delivery) -> None:
    """`source_row` of `parsed` from the n-th written line to the physical line."""
    if not delivery.blank or not in_lines(None, delivery.paths[0]):
        return
    con.execute("create or replace temp table shifts(first_row bigint, shift bigint)")
    runs = chain([(0, 0)], blank_runs(delivery.paths[0]))
    while some := list(islice(runs, RUNS)):
        con.execute(
            "insert into shifts select unnest($first), unnest($shift)", {"first": [row for row, _ in some], "shift": [shift for _, shift in some]}
        )
    con.execute(
        "create or replace temp table parsed as select p.* replace (p.source_row + s.shift as source_row)"
        " from parsed p asof join shifts s on p.source_row >= s.first_row"
    )
    con.execute("drop table shifts")

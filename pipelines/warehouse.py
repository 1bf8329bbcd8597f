"""DuckDB connections, transactions and durable files: the only module that opens the pipeline's own database."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

import duckdb

from pipelines.errors import Busy, Refused
from pipelines.home import Home

MEMORY_LIMIT = "900MB"
DICTIONARY = 5000  # values of a column up to which Parquet names each once: a dictionary of ids costs time and room

_SETTINGS = {
    "autoinstall_known_extensions": "false",
    "autoload_known_extensions": "false",
    "allow_community_extensions": "false",
    "allow_persistent_secrets": "false",
    "python_enable_replacements": "false",
    "memory_limit": MEMORY_LIMIT,
}


def lock_down(con: duckdb.DuckDBPyConnection, folders: list[Path]) -> None:
    """UTC, and no way out of `folders`: every setting comes before the lock."""
    con.execute("set TimeZone = 'UTC'")
    con.execute("set enable_progress_bar = false")
    con.execute("set allowed_directories = ?", [[f"{folder}/" for folder in folders]])
    con.execute("set enable_external_access = false")
    con.execute("set lock_configuration = true")


def memory() -> duckdb.DuckDBPyConnection:
    """An empty in-memory database in UTC, for tools that need no home."""
    con = duckdb.connect(config=_SETTINGS)
    con.execute("set TimeZone = 'UTC'")
    return con


@contextmanager
def open_warehouse(home: Home) -> Iterator[duckdb.DuckDBPyConnection]:
    """The pipeline's own database, read-write, locked to the home's folders; closed, with its scratch gone, on every way out.

    A kill during the first creation of a DuckDB file leaves one that cannot be opened, so it is made under
    another name first.
    """
    home.data.mkdir(parents=True, exist_ok=True)
    fresh_folder(home.scratch)
    if not home.warehouse.exists():
        boot = home.warehouse.with_suffix(".boot")
        for leftover in (boot, Path(f"{boot}.wal"), Path(f"{home.warehouse}.wal")):
            leftover.unlink(missing_ok=True)
        duckdb.connect(str(boot)).close()
        replace_durably(boot, home.warehouse)
    con = duckdb.connect(str(home.warehouse), config={**_SETTINGS, "temp_directory": str(home.scratch)})
    try:
        lock_down(con, [home.data, home.reports])
        yield con
    finally:
        con.close()
        shutil.rmtree(home.scratch, ignore_errors=True)


_REMEMBERED: WeakKeyDictionary[duckdb.DuckDBPyConnection, dict[str, Any]] = WeakKeyDictionary()


def remembered(con: duckdb.DuckDBPyConnection) -> dict[str, Any]:
    """What a connection is known to have, so that nobody has to ask for it or make it again; a rollback may undo it, and forgets it."""
    return _REMEMBERED.setdefault(con, {})


def tables(con: duckdb.DuckDBPyConnection) -> set[str]:
    """Names of the warehouse's tables, asked once: the catalog describes every table for each answer. Add what you make."""
    known = remembered(con)
    if "tables" not in known:
        found = con.execute("select table_name from duckdb_tables() where database_name = 'warehouse' and schema_name = 'main'").fetchall()
        known["tables"] = {name for (name,) in found}
    return known["tables"]


def define(con: duckdb.DuckDBPyConnection, macros: str) -> None:
    """Temporary macros, made once."""
    if macros not in remembered(con):
        con.execute(macros)
        remembered(con)[macros] = True


@contextmanager
def transaction(con: duckdb.DuckDBPyConnection) -> Iterator[None]:
    """All or nothing. DuckDB's COMMIT after a failed statement silently rolls back, so no error may pass through."""
    con.execute("begin transaction")
    try:
        yield
    except BaseException:
        remembered(con).clear()
        with suppress(duckdb.Error):  # the failed statement may have ended the transaction already
            con.execute("rollback")
        raise
    con.execute("commit")


@contextmanager
def only_run(home: Home) -> Iterator[None]:
    """Hold the home; a second run raises `Busy`. The kernel frees the lock when the holder dies."""
    try:
        home.data.mkdir(parents=True, exist_ok=True)
        lock = open(home.lock, "a+", encoding="utf-8")  # noqa: SIM115
    except OSError as error:
        raise Refused(f"cannot be written ({error.strerror})", str(home.data), "run as the user who owns the home") from None
    with lock as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            handle.seek(0)
            raise Busy(f"{home.root}: another run holds this home (process {handle.read().strip() or '?'})") from None
        handle.seek(0)
        handle.truncate()
        handle.write(str(os.getpid()))
        handle.flush()
        yield


def literal(text: str) -> str:
    """`text` quoted, for the few statements that take no bound values."""
    return "'" + text.replace("'", "''") + "'"


def write_parquet(con: duckdb.DuckDBPyConnection, select: str, path: Path, params: Mapping[str, Any] | None = None) -> Path:
    """`select` as one Parquet file at `path`: complete and on disk, or absent."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.part")
    con.execute(f"copy ({select}) to $part_path (format parquet, compression zstd, dictionary_size_limit {DICTIONARY})", {**(params or {}), "part_path": str(part)})
    replace_durably(part, path)
    return path


def write_text(path: Path, text: str) -> Path:
    """`text` as a UTF-8 file at `path`: complete and on disk, or absent."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.part")
    part.write_text(text, encoding="utf-8")
    return replace_durably(part, path)


def replace_durably(part: Path, path: Path) -> Path:
    """Move a finished file or folder to its name so that it survives a power cut."""
    if part.is_file():
        sync(part)
    os.replace(part, path)
    sync(path.parent)
    return path


def sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def fresh_folder(folder: Path) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True, mode=0o700)
    return folder

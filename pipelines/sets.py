"""Which files arrive together, where a format says more than one file: what a manifest lists, and pairs of datasets.

Metadata only describes files: it is no part of what arrives.
A vendor writes a manifest after the files it lists, so it is the mark that the set is whole. A set waits until its
manifest and every listed file are there, with the bytes that the manifest tells. Of two sets of one report and period
only the newer one counts. Nothing here opens a data file.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from pipelines.content import DAMAGED, open_content
from pipelines.errors import Refused
from pipelines.sources import Manifest, Manifests

MAX_MANIFEST = 16 << 20  # bytes
RUN_ID = re.compile(r"/[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}(?=/|$)")  # a folder per run, in a lower-case path


@dataclass(frozen=True)
class File:
    """One file of a source as it stands in landing."""

    kind: str
    source: str
    path: Path
    name: str  # below data/landing
    bytes: int
    modified_ns: int


@dataclass(frozen=True)
class Part:
    """A manifest (and copies of it) with the files that it lists."""

    manifests: tuple[File, ...]
    files: tuple[File, ...]


@dataclass(frozen=True)
class Set:
    """Files of one delivery. `newest`: no set of the same report and period is newer."""

    files: tuple[File, ...]
    parts: tuple[Part, ...] = ()
    version: str = ""
    newest: bool = True
    beside: tuple[Path, ...] = ()  # what describes the files, and is no part of the delivery

    @property
    def all(self) -> tuple[File, ...]:
        """Data files first, then the manifests."""
        return (*self.files, *(manifest for part in self.parts for manifest in part.manifests))

    @property
    def order(self) -> tuple[str, int, str]:
        return self.version, max(file.modified_ns for file in self.all), self.all[0].name


Said = tuple[str, str, File]  # state, reason, file


def assemble(
    files: list[File], manifests: Manifests | None, pair: tuple[str, str] | None
) -> tuple[list[Set], list[Said]]:
    """The sets that are whole, oldest first, and what is to be said of the other files."""
    said: list[Said] = []
    whole = _listed(files, manifests, said) if manifests else [Set((file,)) for file in files]
    if pair:
        whole = _paired(whole, pair, said)
    return sorted(whole, key=lambda set_: set_.order), said


def committed(files: list[File], said: list[Said]) -> list[File]:
    """The files that a mark in a folder `manifests` covers, marks included, and all where there is no such folder; the others are said to wait."""
    marks: dict[PurePosixPath, str] = {}
    for file in files:
        folder = PurePosixPath(file.name).parent
        if folder.name == "manifests":
            marks[folder.parent] = max(marks.get(folder.parent, ""), _bare(file))
    covered = []
    for file in files:
        folder = PurePosixPath(file.name).parent
        if folder.name != "manifests" and folder.parent in marks and _bare(file) > marks[folder.parent]:
            said.append(("waiting", "the manifest that says that it is whole is not here yet", file))
        else:
            covered.append(file)
    return covered


def _bare(file: File) -> str:
    """The name without what says how it is written."""
    return re.sub(r"\.(jsonl?|ndjson|csv|parquet)(\.gz)?$", "", file.path.name)


def describing(files: list[File], tells: Callable[[str], str], manifests: tuple[str, ...], said: list[Said]) -> tuple[list[File], list[File]]:
    """The files without the JSON that is no manifest, and what of that describes others; what it tells is said."""
    others: list[File] = []
    found: list[File] = []
    for file in files:
        if not file.name.endswith((".json", ".json.gz")) or file.name.endswith(manifests):
            others.append(file)
            continue
        try:
            said.append(("metadata", tells(_text(file)), file))
            found.append(file)
        except (ValueError, RecursionError, OSError, *DAMAGED):
            fix = "deliver it as the vendor wrote it, or remove it"
            said.append(("refused", str(Refused("neither a manifest nor metadata of the files beside it", file.name, fix)), file))
    return others, found


def beside(set_: Set, metadata: list[File]) -> tuple[Path, ...]:
    """The metadata that describes a set: it stands in a folder above, or in a folder `metadata` beside it or above."""
    folders = PurePosixPath(set_.files[0].name).parents
    return tuple(file.path for file in metadata if _described(PurePosixPath(file.name)) in folders)


def _described(metadata: PurePosixPath) -> PurePosixPath:
    """The folder of what a metadata file describes."""
    below = list(reversed(metadata.parents))[3:]  # without `.`, the kind and the source
    return next((folder.parent for folder in below if folder.name.lower() == "metadata"), metadata.parent)


# --- manifests -----------------------------------------------------------------------------------------------------


def _listed(files: list[File], rules: Manifests, said: list[Said]) -> list[Set]:
    """Sets that a manifest lists, and files that arrive alone."""
    there = {file.name: file for file in files if not file.name.endswith(rules.names)}
    complete: dict[tuple[Manifest, tuple[File, ...]], list[File]] = {}
    partial: list[tuple[Manifest, Said]] = []
    claimed: set[str] = set()
    unread: set[Path] = set()  # folders of manifests that cannot be read: what stands beside them waits
    for file in files:
        if file.name in there:
            continue
        try:
            manifest = _read(file, rules)
        except Refused as refused:
            said.append(("refused", str(refused), file))
            unread.add(file.path.parent)
            continue
        found = [(listed, size, _find(file, listed, there)) for listed, size in manifest.files]
        claimed.update(data.name for _, _, data in found if data)
        if reason := _missing(found):
            partial.append((manifest, ("waiting", reason, file)))
        else:
            complete.setdefault((manifest, tuple(data for _, _, data in found if data)), []).append(file)
    newest = _newest(manifest for manifest, _ in complete)
    said += [waiting for manifest, waiting in partial if manifest.version >= newest.get(manifest.scope, "")]
    made = []
    for (manifest, data), copies in complete.items():
        latest = manifest.version >= newest[manifest.scope]
        made.append(Set(data, (Part(tuple(copies), data),), manifest.version, latest))
        if not latest:
            said += [
                ("superseded", "a newer set of the same report and period is here", file) for file in (*copies, *data)
            ]
    for file in there.values():
        if file.name in claimed:
            continue
        if rules.awaited.search(file.name) or file.path.parent in unread:
            said.append(("waiting", "no manifest lists it; it waits for the one that does", file))
        else:
            made.append(Set((file,)))
    return made


def _read(file: File, rules: Manifests) -> Manifest:
    fix = "deliver the manifest again, as the vendor wrote it"
    if file.bytes > MAX_MANIFEST:
        raise Refused(f"a manifest of more than {MAX_MANIFEST >> 20} MB", file.name, fix)
    try:
        manifest = rules.read(_text(file))
    except (ValueError, RecursionError, OSError, *DAMAGED):
        raise Refused("not a manifest that can be read", file.name, fix) from None
    if not manifest.files:
        raise Refused("the manifest lists no files", file.name, fix)
    return manifest


def _text(file: File) -> str:
    """The content; ValueError where it is too large or no UTF-8."""
    with open_content(file.path) as handle:
        data = handle.read(MAX_MANIFEST + 1)
    if len(data) > MAX_MANIFEST:
        raise ValueError("too large")
    return data.decode("utf-8-sig")


def _find(manifest: File, listed: str, there: dict[str, File]) -> File | None:
    """The longest end of the listed path that stands in the manifest's folder or in one above it, within the source."""
    steps = [step for step in re.split(r"[/\\]+", listed) if step]
    folders = list(PurePosixPath(manifest.name).parents)[:-2]
    for start in range(len(steps)):
        for folder in folders:
            if found := there.get("/".join((str(folder), *steps[start:]))):
                return found
    return None


def _missing(found: list[tuple[str, int | None, File | None]]) -> str | None:
    """What keeps a set from being whole."""
    for listed, size, file in found:
        name = re.split(r"[/\\]", listed)[-1][:120]
        if file is None:
            return f"the manifest lists {name}, which is not here yet"
        if size is not None and size != file.bytes:
            return f"{name} has {file.bytes:,} bytes, and the manifest says {size:,}"
    return None


def _newest(manifests: Iterable[Manifest]) -> dict[str, str]:
    newest: dict[str, str] = {}
    for manifest in manifests:
        newest[manifest.scope] = max(manifest.version, newest.get(manifest.scope, ""))
    return newest


# --- pairs ---------------------------------------------------------------------------------------------------------


def _paired(whole: list[Set], words: tuple[str, str], said: list[Said]) -> list[Set]:
    """Sets whose paths differ by the two words only, as one; what has neither word arrives alone."""
    made: list[Set] = []
    halves: dict[str, dict[str, Set]] = {}
    for set_ in sorted(whole, key=lambda set_: set_.order):
        place = _place(set_)
        found = [word for word in words if word in place]
        if len(found) == 1:
            if set_.newest:
                halves.setdefault(place.replace(found[0], "*"), {})[found[0]] = set_
        else:
            made.append(set_)
    for half in halves.values():
        if len(half) == 2:
            first, second = (half[word] for word in words)
            version = max(first.version, second.version)
            made.append(Set((*first.files, *second.files), (*first.parts, *second.parts), version))
            continue
        ((word, set_),) = half.items()
        other = words[1 - words.index(word)]
        said.append(
            ("waiting", f"its {other} cost is not here yet (the same path with {other} for {word})", set_.files[0])
        )
    return made


def _place(set_: Set) -> str:
    """Below the source's folder: the file, or the folder of its manifest without the folder of the run. Lower case."""
    name = set_.parts[0].manifests[0].name if set_.parts else set_.files[0].name
    below = "/" + "/".join(PurePosixPath(name).parts[2:]).lower()
    return RUN_ID.sub("", str(PurePosixPath(below).parent)) if set_.parts else below

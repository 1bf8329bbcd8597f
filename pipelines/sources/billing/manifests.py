"""The manifests of billing exports: AWS Data Exports (CUR 2.0, FOCUS), legacy CUR, and Azure Cost Management exports."""

from __future__ import annotations

import json
import re
from typing import Any

from pipelines.sources import Manifest, Manifests


def read_manifest(text: str) -> Manifest:
    """ValueError where the text is none of them."""
    said = json.loads(text)
    if not isinstance(said, dict):
        raise ValueError("not an object")
    try:
        if "dataFiles" in said:  # executionId begins with its time; where it does not, nothing tells which one is newer
            execution = str(said.get("executionId") or "")
            version = execution if re.match(r"\d{8}T\d{6}", execution) else ""
            return Manifest(
                _names(said["dataFiles"]), _scope(said["exportArn"], said["billingPeriod"]["start"]), version
            )
        if "reportKeys" in said:  # assembly ids are random
            return Manifest(_names(said["reportKeys"]), _scope(said["reportName"], said["billingPeriod"]["start"]), "")
        run, config = said["runInfo"], said["exportConfig"]
        files = tuple((_text(blob["blobName"]), _size(blob.get("byteCount"))) for blob in said["blobs"])
        scope = _scope(config.get("resourceId") or config["exportName"], config.get("type"), run["startDate"])
        return Manifest(files, scope, _text(run["submittedTime"]))
    except (KeyError, TypeError, AttributeError):
        raise ValueError("not a manifest of a billing export") from None


def columns(text: str) -> list[str]:
    """The columns that a manifest promises; none where it does not say."""
    listed = json.loads(text).get("columns")
    found = [_column(column) for column in listed] if isinstance(listed, list) else []
    return [name for name in found if name]


def _column(said: Any) -> str:
    """`line_item_usage_type`, `{name, type}` or `{category, name}` of a legacy report."""
    if isinstance(said, dict):
        return "/".join(part for part in (said.get("category"), said.get("name")) if isinstance(part, str))
    return said if isinstance(said, str) else ""


def period(text: str) -> str | None:
    """YYYY-MM of an AWS manifest: `2026-10-01T00:00:00Z`, `20261001T000000.000Z`."""
    start = (json.loads(text).get("billingPeriod") or {}).get("start")
    found = re.match(r"(\d{4})-?(\d{2})", str(start))
    return f"{found[1]}-{found[2]}" if found else None


def _names(listed: Any) -> tuple[tuple[str, int | None], ...]:
    return tuple((_text(name), None) for name in listed)


def _scope(*words: Any) -> str:
    return "\0".join(str(word) for word in words)


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError
    return value


def _size(value: Any) -> int | None:
    return None if value is None else int(value)


AWS = Manifests(("-Manifest.json",), read_manifest, re.compile(r""))  # a cost and usage report always has one
ANY = Manifests(("-Manifest.json", "/manifest.json"), read_manifest, re.compile(r"/BILLING_PERIOD=|/part_\d+_\d+\."))

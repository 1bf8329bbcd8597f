"""The nightly job on real traffic: two public traces of Azure OpenAI use, mapped as two teams."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import duckdb
import pytest

from pipelines import jobs, policy
from pipelines.home import CHECKOUT, Home
from tests.conftest import quiet

TRACES = CHECKOUT.parent / "shared" / "samples" / "traces" / "azure_llm"


@pytest.mark.skipif(not TRACES.is_dir(), reason="the Azure LLM inference traces are not beside this checkout")
def test_real_traffic_through_the_generic_source(tmp_path: Path) -> None:
    pass

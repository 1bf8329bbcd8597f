"""Every format that can be read, by the name that sources.yaml uses. A reader is imported when it is first needed."""

from __future__ import annotations

from functools import cache
from importlib import import_module

from pipelines.errors import Refused
from pipelines.sources import Format

READERS = {
    "litellm": "pipelines.sources.gateway.litellm",
    "litellm_daily": "pipelines.sources.gateway.litellm_daily",
    "otel_genai": "pipelines.sources.gateway.otel_genai",
    "langfuse": "pipelines.sources.gateway.langfuse",
    "mapped": "pipelines.sources.gateway.mapped",
    "helicone": "pipelines.sources.gateway.helicone",
    "portkey": "pipelines.sources.gateway.portkey",
    "kong": "pipelines.sources.gateway.kong",
    "envoy": "pipelines.sources.gateway.envoy",
    "cloudflare": "pipelines.sources.gateway.cloudflare",
    "bedrock": "pipelines.sources.gateway.bedrock",
    "azure_apim": "pipelines.sources.gateway.azure_apim",
    "focus": "pipelines.sources.billing.focus",
    "openai_costs": "pipelines.sources.billing.openai_costs",
    "anthropic_costs": "pipelines.sources.billing.anthropic_costs",
    "aws_cur": "pipelines.sources.billing.aws_cur",
    "azure_cost": "pipelines.sources.billing.azure_cost",
    "gcp_billing": "pipelines.sources.billing.gcp_billing",
    "openai_dashboard": "pipelines.sources.billing.openai_dashboard",
    "anthropic_analytics": "pipelines.sources.billing.anthropic_analytics",
    "anthropic_console": "pipelines.sources.billing.anthropic_console",
    "openrouter": "pipelines.sources.billing.openrouter",
    "deepseek": "pipelines.sources.billing.deepseek",
    "runpod": "pipelines.sources.billing.runpod",
    "databricks": "pipelines.sources.billing.databricks",
    "mapped_bill": "pipelines.sources.billing.mapped_bill",
    "openai_usage": "pipelines.sources.billing.openai_usage",
    "anthropic_usage": "pipelines.sources.billing.anthropic_usage",
    "anthropic_analytics_usage": "pipelines.sources.billing.anthropic_analytics_usage",
    "anthropic_tokens": "pipelines.sources.billing.anthropic_tokens",
    "deepseek_amounts": "pipelines.sources.billing.deepseek_amounts",
    "fireworks": "pipelines.sources.billing.fireworks",
    "databricks_usage": "pipelines.sources.billing.databricks_usage",
    "sacct": "pipelines.sources.gpu.sacct",
    "koku_gpu": "pipelines.sources.gpu.koku_gpu",
    "dcgm": "pipelines.sources.gpu.dcgm",
    "k8s_gpu_requests": "pipelines.sources.gpu.k8s_gpu_requests",
    "opencost": "pipelines.sources.gpu.opencost",
    "vllm": "pipelines.sources.gpu.vllm",
    "mapped_gpu": "pipelines.sources.gpu.mapped_gpu",
    "drivers_csv": "pipelines.sources.drivers.drivers_csv",
    "fx_csv": "pipelines.sources.drivers.fx_csv",
    "invoices_csv": "pipelines.sources.drivers.invoices_csv",
    "outcomes_csv": "pipelines.sources.drivers.outcomes_csv",
}


@cache
def find(name: str) -> Format:
    """The format of this name; `Refused` where there is none."""
    if name not in READERS:
        raise Refused(f"unknown format {name}", "sources.yaml", f"use one of: {', '.join(READERS)}")
    return import_module(READERS[name]).FORMAT


class _Formats(dict[str, Format]):
    """FORMATS["litellm"] loads that reader and no other."""

    def __missing__(self, name: str) -> Format:
        return find(name)


FORMATS: dict[str, Format] = _Formats()

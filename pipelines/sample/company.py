"""Who the sample company is: projects, prices, sizes. A company that does not exist.

The names repeat data/policy/*.yaml (a test compares them). Nothing here is read from a file, so that the truth does
not depend on the pipeline that is tested against it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from functools import lru_cache

FIRST_DAY = date(2026, 9, 1)
LAST_DAY = date(2026, 10, 31)
MONTHS = ("2026-09", "2026-10")

CANARY = "canary-7f3a"  # in every prompt of every source: it may never turn up behind the readers
NOTEBOOK_KEY = "key-ds-notebooks"  # names its team in teams.yaml
STRAY_KEY = "key-without-team"  # names nobody

TEAMS = ("search", "assistant", "docs", "support", "risk", "marketing", "data-science", "platform")
UNALLOCATED = "unallocated"
# What the business counted in a month: (application, metric, quantity); money in dollars.
OUTCOMES = {
    "2026-09": (("agent-desk", "tickets", 5_240), ("shopping-assistant", "conversations", 21_480), ("shopping-assistant", "customers", 9_810),
                ("document-pipeline", "contracts", 8_320), ("document-pipeline", "human_cost", 34_944)),
    "2026-10": (("agent-desk", "tickets", 6_310), ("shopping-assistant", "conversations", 24_160), ("shopping-assistant", "customers", 10_450),
                ("document-pipeline", "contracts", 9_105), ("document-pipeline", "human_cost", 38_241)),
}  # fmt: skip
SEATS = {"search": 24, "assistant": 18, "docs": 15, "support": 22, "risk": 12, "marketing": 10, "data-science": 14}
SLURM_ACCOUNTS = {
    "search": "acct-search",
    "docs": "acct-docs",
    "risk": "acct-risk",
    "data-science": "acct-ds",
    "platform": "acct-platform",
}
DOCS_MOVED = date(2026, 10, 16)  # from this day on the docs team belongs to CC-5100
COST_CENTERS = {
    "search": "CC-4100",
    "assistant": "CC-4100",
    "docs": "CC-4100",
    "support": "CC-4200",
    "risk": "CC-4200",
    "marketing": "CC-5100",
    "data-science": "CC-5100",
    "platform": "CC-4200",
}
INDEX_KEEPERS = {"catalog": "search", "help-center": "support", "contracts": "docs"}
HANDBOOK_MOVED = date(2026, 10, 12)  # from this day on the risk team keeps the handbook, until then support
INDEX_GIGABYTES = {"catalog": 180, "help-center": 45, "contracts": 260, "reviews": 20, "handbook": 6}
INDEX_VECTORS = {  # what the retrieval service counted by the team whose documents they are; it does not know the handbook
    "catalog": {"search": 900_000, "marketing": 250_000},
    "help-center": {"support": 310_000},
    "contracts": {"docs": 700_000, "risk": 260_000},
    "reviews": {"marketing": 120_000, "search": 40_000},
}
INDEX_DOCUMENTS = {"catalog": {"search": 84_000, "marketing": 21_000}, "help-center": {"support": 4_300}, "contracts": {"docs": 11_200, "risk": 3_900}}
INDEX_SUBSCRIBERS = {"reviews": ("assistant", "marketing", "search"), "handbook": ("docs", "risk", "support")}
DOCUMENT_BUCKET = "larkfield-contract-documents"  # the documents behind the index `contracts`
CLEANUP_JOB = "contracts-cleanup"  # removes deleted documents from it, every Sunday

BILLING_ACCOUNTS = {
    "openai": "org-larkfield",
    "anthropic": "lark-anthropic",
    "google": "01A2B3-LARK",
    "aws": "111122223333",
    "pinecone": "pc-larkfield",
}
OUR_SUB_ACCOUNT = "444455556666"
FOREIGN_SUB_ACCOUNT = "999900001111"
OPENAI_PROJECTS = {"search": "proj_search", "assistant": "proj_assistant", "docs": "proj_docs"}  # the rest shares one
OPENAI_SHARED_PROJECT = "proj_gateway"
ANTHROPIC_WORKSPACES = {"assistant": "wrkspc_assistant", "docs": "wrkspc_docs", "support": "wrkspc_support"}
SERVED_MODEL = "llama-3.3-70b"
CALLED_DIRECTLY = {date(2026, 10, 7): 4, date(2026, 10, 8): 6}  # percent of the day's tokens that no gateway saw
NOTEBOOK_RATES = (Decimal("0.70"), Decimal("0.40"))  # USD for a card and hour: by day, from 20:00 to 06:00 UTC


def cost_center(team: str, day: date) -> str:
    """The cost center that carries `team` on `day`; `unallocated` carries itself."""
    if team == "docs" and day >= DOCS_MOVED:
        return "CC-5100"
    return COST_CENTERS.get(team, UNALLOCATED)


def index_keeper(index: str, day: date) -> str | None:
    """The team that keeps `index` on `day`; nobody keeps the reviews."""
    if index == "handbook":
        return "support" if day < HANDBOOK_MOVED else "risk"
    return INDEX_KEEPERS.get(index)


# --- prices ------------------------------------------------------------------------------------------------------

LONG_CONTEXT = 200_000  # above so many input tokens a request pays the long-context price on every token

# USD per million tokens: the list prices of the snapshot genai-prices 0.2.3 (MIT), data/list_prices/.
LIST_PRICES: dict[tuple[str, str], dict[str, str]] = {
    ("openai", "gpt-5"): {"input_uncached": "1.25", "cache_read": "0.125", "output": "10"},
    ("openai", "gpt-5-mini"): {"input_uncached": "0.25", "cache_read": "0.025", "output": "2"},
    ("openai", "text-embedding-3-large"): {"input_uncached": "0.13"},
    ("openai", "text-embedding-3-small"): {"input_uncached": "0.02"},
    ("anthropic", "claude-sonnet-4-5"): {
        "input_uncached": "3", "cache_read": "0.3", "cache_write_5m": "3.75", "cache_write_1h": "6", "output": "15",
    },
    ("anthropic", "claude-haiku-4-5"): {
        "input_uncached": "1", "cache_read": "0.1", "cache_write_5m": "1.25", "cache_write_1h": "2", "output": "5",
    },
    ("anthropic", "claude-opus-4-1"): {
        "input_uncached": "15", "cache_read": "1.5", "cache_write_5m": "18.75", "cache_write_1h": "30", "output": "75",
    },
    ("google", "gemini-2.5-pro"): {"input_uncached": "1.25", "cache_read": "0.125", "output": "10"},
    ("google", "gemini-2.5-flash"): {"input_uncached": "0.3", "cache_read": "0.03", "output": "2.5"},
    ("aws", "amazon.nova-pro-v1:0"): {"input_uncached": "0.8", "cache_read": "0.2", "output": "3.2"},
    ("aws", "amazon.nova-lite-v1:0"): {"input_uncached": "0.06", "cache_read": "0.015", "output": "0.24"},
}  # fmt: skip
LONG_PRICES: dict[tuple[str, str], dict[str, str]] = {
    ("anthropic", "claude-sonnet-4-5"): {
        "input_uncached": "6", "cache_read": "0.6", "cache_write_5m": "7.5", "cache_write_1h": "12", "output": "22.5",
    },
    ("google", "gemini-2.5-pro"): {"input_uncached": "2.5", "cache_read": "0.25", "output": "15"},
}  # fmt: skip
# What the vendor bills for a model that no price list knows.
BILL_ONLY_PRICES: dict[tuple[str, str], dict[str, str]] = {
    ("openai", "gpt-preview-internal"): {"input_uncached": "4", "cache_read": "0.4", "output": "16"},
}
DISCOUNTS = {"aws": Decimal("0.925"), "google": Decimal("0.96")}  # what remains of the list price
RAISED_PRICES = {("openai", "gpt-5", "output"): (Decimal("10.60"), date(2026, 10, 24))}  # and nobody told us
UNIT_ERROR = (date(2026, 10, 14), "gpt-5-mini", "output")  # OpenAI's bill counts thousands and says tokens; the money is right
PRIVATE_PRICES = {("openai", "gpt-5-mini", "output"): (Decimal("1.80"), date(2026, 10, 1))}

# Billed once and used up over a term: line text -> first day, first day after it. contracts.yaml declares the same.
TERMS = {
    "Gateway licence, 90 days": (date(2026, 9, 15), date(2026, 12, 14)),
    "Training of docs-extractor": (date(2026, 9, 22), date(2027, 3, 22)),
}

MILLION = Decimal(1_000_000)


@lru_cache(maxsize=4096)
def list_price(provider: str, model: str, meter: str, long: bool = False) -> Decimal | None:
    """List price of a million tokens in USD; None where no list knows the model or the meter."""
    table = LONG_PRICES.get((provider, model)) if long else None
    text = (table or LIST_PRICES.get((provider, model), {})).get("output" if meter == "reasoning" else meter)
    return None if text is None else Decimal(text)


@lru_cache(maxsize=65536)
def contracted_price(provider: str, model: str, meter: str, day: date, long: bool = False) -> Decimal | None:
    """What a million tokens cost us on `day` by contract, in USD; None where the list price is unknown."""
    private = PRIVATE_PRICES.get((provider, model, "output" if meter == "reasoning" else meter))
    if private and day >= private[1]:
        return private[0]
    listed = list_price(provider, model, meter, long)
    return None if listed is None else listed * DISCOUNTS.get(provider, Decimal(1))


@lru_cache(maxsize=65536)
def billed_price(provider: str, model: str, meter: str, day: date, long: bool = False) -> Decimal:
    """What the vendor puts on the bill for a million tokens: the contract, also for models without a list price.

    A price that it raised without a word is on the bill alone.
    """
    raised = RAISED_PRICES.get((provider, model, "output" if meter == "reasoning" else meter))
    if raised and day >= raised[1]:
        return raised[0]
    known = contracted_price(provider, model, meter, day, long)
    return Decimal(BILL_ONLY_PRICES[provider, model][meter]) if known is None else known


# --- models ------------------------------------------------------------------------------------------------------

LOGGED_AS = {  # the gateway logs what the vendor answered with; elsewhere the plain name
    "claude-sonnet-4-5": "claude-sonnet-4-5-20250929",
    "claude-haiku-4-5": "claude-haiku-4-5-20251001",
    "claude-opus-4-1": "claude-opus-4-1-20250805",
}
BILLED_AS = {**LOGGED_AS, "gpt-5": "gpt-5-2025-08-07", "gpt-5-mini": "gpt-5-mini-2025-08-07"}
PROVIDER_OF = {model: provider for provider, model in (*LIST_PRICES, *BILL_ONLY_PRICES)} | {
    "llama-3.3-70b": "hosted_vllm"
}


@dataclass(frozen=True)
class Size:
    """How large one event of a model is: whole tokens in, and which parts of them hit or fill a cache."""

    low: int
    high: int
    read: float  # share of input that a provider cache answered
    write: float  # share of input written to a provider cache
    out_low: int
    out_high: int
    reasoning: float = 0.0  # share of output


# One event may stand for one flush of a batch client: few lines, believable money.
SIZES = {
    "gpt-5": Size(30_000, 180_000, 0.35, 0.0, 120_000, 560_000, 0.45),
    "gpt-5-mini": Size(20_000, 160_000, 0.30, 0.0, 120_000, 480_000, 0.30),
    "gpt-preview-internal": Size(8_000, 40_000, 0.2, 0.0, 3_000, 12_000),
    "text-embedding-3-large": Size(60_000, 195_000, 0.0, 0.0, 0, 0),
    "text-embedding-3-small": Size(60_000, 195_000, 0.0, 0.0, 0, 0),
    "claude-sonnet-4-5": Size(40_000, 190_000, 0.45, 0.08, 60_000, 280_000),
    "claude-haiku-4-5": Size(30_000, 180_000, 0.40, 0.06, 60_000, 260_000),
    "claude-opus-4-1": Size(50_000, 190_000, 0.40, 0.10, 50_000, 190_000),
    "gemini-2.5-pro": Size(30_000, 185_000, 0.25, 0.0, 150_000, 520_000, 0.35),
    "gemini-2.5-flash": Size(20_000, 180_000, 0.25, 0.0, 150_000, 520_000, 0.15),
    "amazon.nova-pro-v1:0": Size(30_000, 190_000, 0.20, 0.0, 100_000, 400_000),
    "amazon.nova-lite-v1:0": Size(30_000, 190_000, 0.20, 0.0, 100_000, 400_000),
    "llama-3.3-70b": Size(1_500_000, 12_000_000, 0.30, 0.0, 900_000, 5_400_000),
}


# --- projects ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Project:
    """One project of teams.yaml and the traffic it sends through the LLM gateway."""

    project_id: str
    team: str
    application: str
    weight: float  # relative number of events
    models: dict[str, float]
    request_type: str = "interactive"
    environment: str = "production"
    customers: bool = False
    triggered_by: tuple[str, ...] = ()  # teams whose documents cause its embeddings
    vector_index_id: str | None = None


PROJECTS = (
    Project("search-ranking", "search", "storefront-search", 7, {"gpt-5-mini": 5, "gemini-2.5-flash": 4}),
    Project("search-query-rewrite", "search", "storefront-search", 6, {"gemini-2.5-flash": 6, "gpt-5-mini": 3}),
    Project(
        "search-catalog-embeddings", "search", "storefront-search", 3,
        {"text-embedding-3-large": 8, "text-embedding-3-small": 2}, "background", vector_index_id="catalog",
    ),
    Project("search-eval", "search", "search-lab", 1.5, {"gpt-5": 3, "claude-sonnet-4-5": 2}, "batch", "staging"),
    Project(
        "assistant-chat", "assistant", "shopping-assistant", 13,
        {"claude-sonnet-4-5": 8, "gpt-5": 6, "claude-haiku-4-5": 3}, customers=True,
    ),
    Project(
        "assistant-tools", "assistant", "shopping-assistant", 6, {"claude-sonnet-4-5": 4, "gpt-5": 3}, customers=True
    ),
    Project(
        "assistant-memory", "assistant", "shopping-assistant", 3,
        {"claude-haiku-4-5": 4, "text-embedding-3-small": 2}, "background",
    ),
    Project(
        "assistant-eval", "assistant", "assistant-lab", 2,
        {"claude-opus-4-1": 3, "gpt-5": 2, "gpt-preview-internal": 0.5}, "batch", "staging",
    ),
    Project(
        "docs-extraction", "docs", "document-pipeline", 8,
        {"gemini-2.5-pro": 5, "claude-sonnet-4-5": 3, "llama-3.3-70b": 3}, "batch",
    ),
    Project(
        "docs-summaries", "docs", "document-pipeline", 4, {"claude-opus-4-1": 3, "llama-3.3-70b": 4}, "background"
    ),
    Project(
        "docs-embeddings", "docs", "document-pipeline", 2, {"text-embedding-3-large": 1}, "background",
        vector_index_id="contracts",
    ),
    Project("docs-finetune", "docs", "document-pipeline", 0.8, {"gpt-5": 1}, "batch", "development"),
    Project(
        "support-copilot", "support", "agent-desk", 9,
        {"claude-opus-4-1": 3, "claude-sonnet-4-5": 4, "claude-haiku-4-5": 4}, customers=True,
    ),
    Project("support-triage", "support", "agent-desk", 5, {"claude-haiku-4-5": 5, "gpt-5-mini": 3}, "background"),
    Project(
        "support-knowledge", "support", "help-center", 2, {"text-embedding-3-small": 3, "claude-sonnet-4-5": 2},
        "background", vector_index_id="help-center",
    ),
    Project("risk-screening", "risk", "fraud-review", 6, {"claude-opus-4-1": 6, "llama-3.3-70b": 4}),
    Project("risk-reports", "risk", "fraud-review", 3, {"claude-opus-4-1": 4, "gpt-5": 2}, "batch"),
    Project("risk-graph", "risk", "fraud-review", 1.5, {"gpt-5": 2, "llama-3.3-70b": 3}, "batch"),
    Project("marketing-copy", "marketing", "campaigns", 4, {"gpt-5": 4, "gemini-2.5-pro": 2}),
    Project("marketing-images", "marketing", "campaigns", 1.5, {"gemini-2.5-flash": 1}),
    Project("marketing-insights", "marketing", "campaigns", 2, {"gemini-2.5-pro": 1}, "batch"),
    Project(
        "ds-notebooks", "data-science", "notebooks", 4,
        {"gpt-5": 4, "claude-sonnet-4-5": 3, "llama-3.3-70b": 3}, environment="development",
    ),
    Project("ds-forecasting", "data-science", "forecasting", 2, {"llama-3.3-70b": 4, "gpt-5-mini": 1}, "batch"),
    Project(
        "platform-gateway", "platform", "ai-gateway", 2, {"text-embedding-3-large": 5, "claude-haiku-4-5": 1},
        "background", triggered_by=("docs", "support", "search", "marketing"),
    ),
    Project("platform-observability", "platform", "ai-gateway", 1, {"gemini-2.5-flash": 1}, "background"),
)  # fmt: skip
PROJECT = {project.project_id: project for project in PROJECTS}

BEDROCK_TRAFFIC = (  # (project, model, weight): through the in-house proxy
    ("support-copilot", "amazon.nova-pro-v1:0", 5),
    ("marketing-copy", "amazon.nova-lite-v1:0", 3),
    ("risk-screening", "amazon.nova-pro-v1:0", 3),
    ("search-query-rewrite", "amazon.nova-lite-v1:0", 4),
)
SEARCH_TRAFFIC = (  # (index, project, weight): who searches which index
    ("catalog", "search-ranking", 10),
    ("catalog", "assistant-chat", 6),
    ("catalog", "marketing-insights", 2),
    ("help-center", "support-copilot", 8),
    ("help-center", "assistant-chat", 5),
    ("help-center", "docs-summaries", 1),
    ("contracts", "docs-extraction", 6),
    ("contracts", "risk-reports", 4),
    ("contracts", "ds-notebooks", 1),
)
WRITE_TRAFFIC = (  # (index, writing project, owner of the documents or None for the keeper of the index, weight)
    ("catalog", "search-catalog-embeddings", None, 4),
    ("catalog", "platform-gateway", "marketing", 2),
    ("help-center", "platform-gateway", "support", 3),
    ("help-center", "support-knowledge", None, 2),
    ("contracts", "docs-embeddings", "docs", 4),
    ("contracts", "platform-gateway", "risk", 2),
)
REVIEWS_SEARCHED_FROM = date(2026, 10, 1)  # filled in September, without a search
REVIEW_SEARCHES = (("assistant-chat", 2_400), ("marketing-insights", 900))  # (project, most searches a day)
REEMBEDDINGS = (  # (moment, project whose job embedded, index, team whose documents had changed if it is told, who pays, tokens)
    (datetime(2026, 10, 14, 2, 10), "docs-embeddings", "contracts", "risk", "risk", 20_000_000),
    (datetime(2026, 10, 9, 3, 0), "platform-gateway", "handbook", None, "support", 3_000_000),
    (datetime(2026, 10, 13, 3, 0), "platform-gateway", "handbook", None, "risk", 5_000_000),
    (datetime(2026, 10, 21, 3, 0), "marketing-insights", "reviews", None, "marketing", 2_000_000),
)
REEMBEDDING_MODEL, REEMBEDDING_TRACE = "text-embedding-3-large", "trace-reembedding"
SPIKE = ("support", date(2026, 10, 20), 5)  # one team's bad day: so many times its usual traffic

# What nobody meant to happen, beside the spike: each is an alert, and nothing else is.
LOOP = (datetime(2026, 10, 13, 2, 14), "assistant-tools", "gpt-5", "trace-runaway", 260)  # an agent that called its tool every ten seconds
IDLE_NIGHT = (datetime(2026, 10, 11, 1), datetime(2026, 10, 11, 5))  # the model server's pods were gone
CACHE_LOST = ("assistant-chat", "claude-sonnet-4-5", date(2026, 10, 22), date(2026, 10, 29))  # the time of day stood first in the prompt
COUNTERS_UNTIL = date(2026, 10, 20)  # from then on nobody fetches the model server's counters

SYSTEM_PROMPTS = {"assistant-chat": 30, "assistant-tools": 45}  # percent of the input, of projects whose calls say it
GROWTH_PER_DAY = 0.0055  # October is about 15 % above September

"""What a usage type of Amazon Bedrock means: the model, the meter and the tier.

Amazon's own price list has `{REG}-{Model}-{class}[-{tier}]` and `{REG}-{model}-mantle-{class}-{tier}`; models sold through
AWS Marketplace (Claude and others) name the model in the product only, in at least four conventions. So this is an
ordered table of patterns; what none of them knows keeps the bill's own words and no meter.
"""

from __future__ import annotations

import re

from pipelines.sources.billing.meanings import Meaning

MILLION = 6  # the power of ten of what Marketplace calls a unit of tokens
EDITION = re.compile(r"^(?P<model>.+?) \(Amazon Bedrock Edition\)$")
REGION = re.compile(r"^[A-Z]{2,4}\d{1,2}(?:_[A-Z]{3})?[-_]")  # USE1-, EUW2-, APN1-

# What the rest of a usage type says about its meter, once model, tier and route are taken off; the first that holds counts.
CLASSES = tuple(
    (re.compile(pattern), meter)
    for pattern, meter in (
        (r"cache-?write-(input-)?token(s|-?count)?(-count)?-1h", "cache_write_1h"),
        (r"cache-?write-?1h-(input-)?token(s|-?count)?(-count)?", "cache_write_1h"),
        (r"cache-?write-(input-)?token(s|-?count)?(-count)?(-5m)?", "cache_write_5m"),
        (r"cache-?write-?5m-(input-)?token(s|-?count)?(-count)?", "cache_write_5m"),
        (r"cache-?read-(input-)?token(s|-?count)?(-count)?", "cache_read"),
        (r"(text-)?input-?token(s|-?count)?", "input_uncached"),
        (r"(text-)?output-?token(s|-?count)?", "output"),
        (r"(audio|speech)-input-?token(s|-?count)?", "audio_input"),
        (r"(audio|speech)-output-?token(s|-?count)?", "audio_output"),
        (r"reasoning-?token(s|-?count)?", "output"),  # vendors bill reasoning as output
        (r"[ti]2i-.*", "images"),
    )
)
# Words that only say how, not what: taken off the end, one after the other.
ROUTES = re.compile(r"[-_](cross-region-global|cross-region|global|geo|regional|long-ctx|long-context|longcontext|lctx|standard|std|on-demand)$")
TIERS = re.compile(r"[-_](batch|flex|priority|latency-optimized)$")
AT_FRONT = re.compile(r"^(?:million-?)?(?:(batch|flex|priority)-?)?(?=input|output|cache)", re.IGNORECASE)
MODEL_CLASS = re.compile(
    r"^(?P<model>.+?)-(?:mantle-)?(?P<class>(?:cache-?(?:read|write)|(?:text-|audio-|speech-)?(?:input|output)|reasoning)-?"
    r"(?:1h-|5m-)?(?:input-)?tokens?.*|[TI]2I-.*)$",
    re.IGNORECASE,
)

# Names of Amazon's price list -> model ids of Bedrock, as gateways log them.
MODELS = tuple(
    (re.compile(pattern, re.IGNORECASE), name)
    for pattern, name in (
        (r"nova[- ]?(\d)\.0[- ]?(lite|pro|micro|premier|omni)", r"amazon.nova-\1-\2-v1:0"),
        (r"nova[- ]?(\d\.[1-9])[- ]?(lite|pro|micro|premier|omni)", r"amazon.nova-\1-\2"),
        (r"nova[- ]?(micro|lite|pro|premier|sonic)", r"amazon.nova-\1-v1:0"),
        (r"titan[- ]?embed(?:ding)?s?[- ]?v(\d)(?:[- ]?text)?", r"amazon.titan-embed-text-v\1:0"),
        (r"titan[- ]?embed(?:ding)?s?[- ]?(?:g1[- ]?)?text", r"amazon.titan-embed-text-v1"),
        (r"nova[- ]?canvas", r"amazon.nova-canvas-v1:0"),
        (r"titan[- ]?text[- ]?(?:g1[- ]?)?(express|lite)", r"amazon.titan-text-\1-v1"),
        (r"claude[- ]?(\d)(?:\.0)?[- ]?(haiku|sonnet|opus|fable|mythos)", r"anthropic.claude-\2-\1"),
        (r"claude[- ]?(\d)\.(\d)[- ]?(haiku|sonnet|opus|fable|mythos)", r"anthropic.claude-\3-\1-\2"),
        (r"claude[- ](haiku|sonnet|opus|fable|mythos)[- ](\d)\.(\d)", r"anthropic.claude-\1-\2-\3"),
        (r"claude[- ](haiku|sonnet|opus|fable|mythos)[- ](\d)", r"anthropic.claude-\1-\2"),
        (r"(?:openai\.)?(gpt-oss-\d+b)", r"openai.\1-1:0"),
        (r"deepseek[- ]?r1", r"deepseek.r1-v1:0"),
        (r"llama[- ]?(\d)[-. ](\d)[- ](\d+)b(?:[- ]instruct)?", r"meta.llama\1-\2-\3b-instruct-v1:0"),
    )
)
OLD_CLAUDE = re.compile(r"anthropic\.claude-(haiku|sonnet|opus)-(3)(-\d)?$")  # until version 3 the family came last


def meaning(usage_type: str, product: str | None) -> Meaning:
    """Of one usage type; `product` is the name of the product, which alone tells the model on the Marketplace."""
    edition = EDITION.match(product or "")
    if edition:
        rest = _marketplace_words(usage_type)
        model = edition["model"]
    else:
        rest = REGION.sub("", usage_type)
        model = None
    rest, routes, tier = _strip(rest)
    if model is None and (found := MODEL_CLASS.match(rest)):
        model, rest = found["model"], found["class"].lower()
    rest, more, late = _strip(rest)
    meter = next((meter for pattern, meter in CLASSES if pattern.fullmatch(rest.lower())), None)
    if model is None or (meter is None and not edition):
        return Meaning(None, None, tier or late)
    return Meaning(_named(model, "global" in " ".join(routes + more)), meter, tier or late)


def _marketplace_words(usage_type: str) -> str:
    """`USE1-MP:USE1_InputTokenCount_Global-Units` -> `input-token-count-global`."""
    words = usage_type.split(":", 1)[-1].removesuffix("-Units")
    words = REGION.sub("", words)
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "-", words).replace("_", "-").lower()


def _strip(rest: str) -> tuple[str, list[str], str | None]:
    """Without the words of route and tier at its end (and a tier at its front): the rest, the routes, the tier."""
    routes: list[str] = []
    tier = None
    if front := AT_FRONT.match(rest):
        tier = front[1].lower() if front[1] else None
        rest = rest[front.end() :]
    while True:
        if found := ROUTES.search(rest):
            routes.append(found[1])
        elif found := TIERS.search(rest):
            tier = found[1]
        else:
            return rest, routes, tier
        rest = rest[: found.start()]


def _named(model: str, everywhere: bool) -> str:
    """The id that a gateway would log, where the name is known; a global route has a price of its own."""
    for pattern, name in MODELS:
        if found := pattern.fullmatch(model):
            known = found.expand(name).lower()
            if old := OLD_CLAUDE.fullmatch(known):
                known = f"anthropic.claude-{old[2]}{old[3] or ''}-{old[1]}"
            return f"global.{known}" if everywhere else known
    return model

"""Events, GPU jobs and the model server of the sample company, from one seed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import date, datetime, timedelta
from hashlib import sha256
from itertools import accumulate
from random import Random

from pipelines.sample import company
from pipelines.sample.company import (
    BEDROCK_TRAFFIC,
    FIRST_DAY,
    GROWTH_PER_DAY,
    INDEX_KEEPERS,
    LAST_DAY,
    PROJECT,
    PROJECTS,
    PROVIDER_OF,
    SEARCH_TRAFFIC,
    SIZES,
    SLURM_ACCOUNTS,
    SPIKE,
    UNALLOCATED,
    WRITE_TRAFFIC,
    Project,
    Size,
)
from pipelines.sample.truth import CardHour, Event, GpuJob, Serving

LLM_EVENTS_PER_DAY = 480.0  # an ordinary weekday of the first week
PROXY_EVENTS_PER_DAY = 45.0
SEARCH_LINES_PER_DAY = 42.0  # one line is one flush of a caller's searches
WRITE_LINES_PER_DAY = 12.0
WEEKEND = 0.35
HOURS = (1, 1, 1, 1, 1, 2, 4, 9, 14, 18, 19, 18, 15, 17, 19, 18, 16, 12, 8, 5, 4, 3, 2, 1)  # business hours, UTC
CUMULATED_HOURS = tuple(accumulate(HOURS))

CACHE_HITS, FAILURES, RETRIES = 0.03, 0.007, 0.005  # shares of the LLM gateway's events
LONG_EVENTS = 14  # requests beyond the long-context threshold, over both months


def api_key_hash(key_id: str) -> str:
    """What the gateway stores instead of a key: 64 hex digits."""
    return sha256(f"sample:{key_id}".encode()).hexdigest()


def events(seed: int, scale: float) -> tuple[Event, ...]:
    """Every event of both months, in order of time; equal arguments give equal events."""
    made = [
        *_llm_events(Random(f"{seed}/llm"), scale),
        *_proxy_events(Random(f"{seed}/proxy"), scale),
        *_index_events(Random(f"{seed}/index"), scale),
        *_review_events(Random(f"{seed}/reviews")),
        *_reembeddings(Random(f"{seed}/reembeddings")),
        *_loop(Random(f"{seed}/loop")),
    ]
    return tuple(sorted(map(_without_cache, made), key=lambda event: (event.at, event.event_id)))


def _days() -> Iterator[tuple[date, float]]:
    """Each day with how busy it is."""
    for n in range((LAST_DAY - FIRST_DAY).days + 1):
        day = FIRST_DAY + timedelta(days=n)
        yield day, (WEEKEND if day.weekday() >= 5 else 1.0) * (1 + GROWTH_PER_DAY * n)


def _count(rng: Random, expected: float) -> int:
    """A whole number around `expected`."""
    return int(expected * rng.uniform(0.85, 1.15) + rng.random())


def _moment(rng: Random, day: date) -> datetime:
    hour = rng.choices(range(24), cum_weights=CUMULATED_HOURS)[0]
    return datetime(day.year, day.month, day.day, hour) + timedelta(milliseconds=rng.randrange(3_600_000))


def _hex(rng: Random, digits: int) -> str:
    return f"{rng.getrandbits(digits * 4):0{digits}x}"


def _spike(team: str, day: date) -> int:
    return SPIKE[2] if (team, day) == SPIKE[:2] else 1


# --- the LLM gateway ---------------------------------------------------------------------------------------------


def _llm_events(rng: Random, scale: float) -> Iterator[Event]:
    weights = sum(project.weight for project in PROJECTS)
    cumulated = {p.project_id: tuple(accumulate(p.models.values())) for p in PROJECTS}
    for day, busy in _days():
        for project in PROJECTS:
            share = LLM_EVENTS_PER_DAY * scale * busy * project.weight / weights
            for _ in range(_count(rng, share * _spike(project.team, day))):
                model = rng.choices(tuple(project.models), cum_weights=cumulated[project.project_id])[0]
                yield from _with_accidents(rng, _llm_event(rng, project, model, _moment(rng, day)))
    yield from _long_events(rng)
    yield from _strays(rng)


def _llm_event(rng: Random, project: Project, model: str, at: datetime) -> Event:
    embedding = model.startswith("text-embedding")
    trigger = rng.choice(project.triggered_by) if embedding and project.triggered_by else None
    size = SIZES[model]
    meters = _meters(rng, size, model)
    notebook = project.project_id == "ds-notebooks" and rng.random() < 0.3  # only the key tells whose it is
    interactive = project.request_type == "interactive"
    return Event(
        event_id=f"chatcmpl-{_hex(rng, 24)}",
        source="litellm-prod",
        at=at,
        gateway_team=None if notebook else f"team-{project.team}",
        caller=project.team,
        team=trigger or project.team,
        project=None if notebook else project.project_id,
        application=None if notebook else project.application,
        environment=project.environment,
        provider=PROVIDER_OF[model],
        model=model,
        operation="embedding" if embedding else "chat",
        api_key=company.NOTEBOOK_KEY if notebook else f"key-{project.project_id}",
        triggered_by=trigger,
        vector_index_id=project.vector_index_id if embedding else None,
        customer_id=f"cust-{rng.randrange(40):03d}" if project.customers else None,
        user_tier=rng.choice(("free", "plus", "enterprise")) if project.customers else None,
        request_type=project.request_type,
        trace_id=f"trace-{_hex(rng, 16)}",
        session_id=f"sess-{_hex(rng, 8)}" if interactive else None,
        routing_reason=rng.choice(("default", "cost", "quality")) if interactive else None,
        quality_score=f"0.{rng.randrange(60, 99)}" if interactive and rng.random() < 0.2 else None,
        latency_ms=rng.randrange(300, 45_000),
        **meters,
    )


def _meters(rng: Random, size: Size, model: str, given: int | None = None) -> dict[str, int]:
    """Disjoint meters of one event of this size."""
    total = given or rng.randrange(size.low, size.high)
    read = int(total * size.read * rng.uniform(0, 2)) if size.read else 0
    write = min(int(total * size.write * rng.uniform(0, 2)), total - read) if size.write else 0
    hour = write if write and rng.random() < 0.25 else 0
    out = rng.randrange(size.out_low, size.out_high) if size.out_high else 0
    reasoning = int(out * size.reasoning * rng.uniform(0, 2)) if size.reasoning else 0
    meters = {
        "input_uncached": total - read - write,
        "cache_read": read,
        "cache_write_5m": write - hour,
        "cache_write_1h": hour,
        "output": out - reasoning,
        "reasoning": reasoning,
    }
    return {name: value for name, value in meters.items() if value}


NOTHING = {"input_uncached": 0, "cache_read": 0, "cache_write_5m": 0, "cache_write_1h": 0, "output": 0, "reasoning": 0}


def _with_accidents(rng: Random, event: Event) -> Iterator[Event]:
    """The event, or what became of it: a gateway cache hit, a failure, a failed first attempt."""
    fate = rng.random()
    if fate < CACHE_HITS:
        yield replace(
            event, cached=True, latency_ms=event.latency_ms % 90 + 5,
            avoided_input=event.input_total, avoided_output=event.output_total, **NOTHING,
        )  # fmt: skip
    elif fate < CACHE_HITS + FAILURES:
        seen = rng.random() < 0.2  # the client hung up after the provider had worked: billed
        yield replace(event, status="failure", **({} if seen else NOTHING))
    elif fate < CACHE_HITS + FAILURES + RETRIES:
        yield replace(event, status="failure", **NOTHING)
        later = event.at + timedelta(milliseconds=rng.randrange(200, 9_000))
        if later.date() == event.day:
            yield replace(event, event_id=f"chatcmpl-{_hex(rng, 24)}", at=later, attempt=2)
    else:
        yield event


def _long_events(rng: Random) -> Iterator[Event]:
    """Requests with more than 200,000 input tokens: another price for every token of them."""
    for n in range(LONG_EVENTS):
        project = PROJECT["docs-extraction" if n % 2 else "marketing-insights" if n % 4 else "assistant-tools"]
        model = "claude-sonnet-4-5" if project.team == "assistant" else "gemini-2.5-pro"
        day = FIRST_DAY + timedelta(days=3 + 4 * n)
        event = _llm_event(rng, project, model, _moment(rng, day))
        meters = _meters(rng, SIZES[model], model, rng.randrange(220_000, 700_000))
        yield replace(event, **(NOTHING | meters))


def _strays(rng: Random) -> Iterator[Event]:
    """Traffic nobody owns: a team that teams.yaml does not know, and a key without a team."""
    event = _llm_event(rng, PROJECT["marketing-copy"], "gpt-5", datetime(2026, 9, 15, 11, 20, 30, 500_000))
    nobody = {"project": None, "application": None, "caller": UNALLOCATED, "team": UNALLOCATED}
    yield replace(event, gateway_team="team-ghost", api_key="key-ghost", **nobody)
    event = _llm_event(rng, PROJECT["marketing-copy"], "gpt-5", datetime(2026, 10, 9, 14, 5, 1, 250_000))
    yield replace(event, gateway_team=None, api_key=company.STRAY_KEY, **nobody)


def _reembeddings(rng: Random) -> Iterator[Event]:
    """Documents that were embedded again: for another team, for the keeper of the index, and for the caller itself."""
    for at, project_id, index, trigger, payer, tokens in company.REEMBEDDINGS:
        event = _llm_event(rng, PROJECT[project_id], company.REEMBEDDING_MODEL, at)
        cause = {"triggered_by": trigger, "team": payer, "vector_index_id": index, "request_type": "batch"}
        yield replace(event, trace_id=company.REEMBEDDING_TRACE, **cause, **(NOTHING | {"input_uncached": tokens}))


def _loop(rng: Random) -> Iterator[Event]:
    """An agent whose tool fails: it calls again and again, each time with all that was said before."""
    start, project_id, model, trace, calls = company.LOOP
    for n in range(calls):
        event = _llm_event(rng, PROJECT[project_id], model, start + timedelta(milliseconds=9_500 * n + rng.randrange(1_000)))
        used = {"input_uncached": 1_800 + 85 * n, "output": rng.randrange(120, 360)}
        yield replace(event, trace_id=trace, session_id="sess-runaway", latency_ms=rng.randrange(900, 5_000), **(NOTHING | used))


def _without_cache(event: Event) -> Event:
    """The event as it is, or with its prompt read in full where the provider's cache could not know it."""
    project, model, start, end = company.CACHE_LOST
    if (event.project, event.model) != (project, model) or not start <= event.day < end:
        return event
    return replace(event, input_uncached=event.input_uncached + event.cache_read, cache_read=0)


# --- the Bedrock proxy and the vector indexes --------------------------------------------------------------------


def _proxy_events(rng: Random, scale: float) -> Iterator[Event]:
    weights = sum(weight for *_, weight in BEDROCK_TRAFFIC)
    for day, busy in _days():
        for project_id, model, weight in BEDROCK_TRAFFIC:
            project = PROJECT[project_id]
            share = PROXY_EVENTS_PER_DAY * scale * busy * weight / weights
            for _ in range(_count(rng, share * _spike(project.team, day))):
                event = Event(
                    event_id=f"br-{_hex(rng, 20)}",
                    source="bedrock-proxy",
                    at=_moment(rng, day),
                    gateway_team=f"team-{project.team}",
                    caller=project.team,
                    team=project.team,
                    project=project_id,
                    application=None,
                    environment=project.environment,
                    provider="aws",
                    model=model,
                    operation="chat",
                    trace_id=f"trace-{_hex(rng, 16)}",
                    latency_ms=rng.randrange(200, 20_000),
                    region="us-east-1",
                    **_meters(rng, SIZES[model], model),
                )
                yield replace(event, status="failure", **NOTHING) if rng.random() < 0.01 else event


def _index_events(rng: Random, scale: float) -> Iterator[Event]:
    searches = sum(weight for *_, weight in SEARCH_TRAFFIC)
    writes = sum(weight for *_, weight in WRITE_TRAFFIC)
    for day, busy in _days():
        for index, project_id, weight in SEARCH_TRAFFIC:
            project = PROJECT[project_id]
            for _ in range(_count(rng, SEARCH_LINES_PER_DAY * scale * busy * weight / searches)):
                queries = rng.randrange(1_500, 11_000)
                units = queries * rng.randrange(5, 13)
                yield _index_event(rng, day, project, index, project.team, queries=queries, read_units=units)
        for index, project_id, owner, weight in WRITE_TRAFFIC:
            project = PROJECT[project_id]
            for _ in range(_count(rng, WRITE_LINES_PER_DAY * scale * busy * weight / writes)):
                units = rng.randrange(10_000, 120_000)
                payer = owner or INDEX_KEEPERS[index]
                yield replace(
                    _index_event(rng, day, project, index, payer, write_units=units),
                    operation="index_write",
                    triggered_by=owner,
                )


def _review_events(rng: Random) -> Iterator[Event]:
    """An index that nobody keeps: filled every Monday, and not searched in its first month."""
    for day, _ in _days():
        if day.weekday() == 0:
            units = rng.randrange(10_000, 60_000)
            written = _index_event(rng, day, PROJECT["platform-gateway"], "reviews", "marketing", write_units=units)
            yield replace(written, operation="index_write", triggered_by="marketing")
        if day >= company.REVIEWS_SEARCHED_FROM:
            for project_id, most in company.REVIEW_SEARCHES:
                project, queries = PROJECT[project_id], rng.randrange(most // 4, most)
                yield _index_event(rng, day, project, "reviews", project.team, queries=queries, read_units=queries * rng.randrange(5, 13))


def _index_event(rng: Random, day: date, project: Project, index: str, payer: str, **units: int) -> Event:
    return Event(
        event_id=f"rag-{_hex(rng, 16)}",
        source="rag-service",
        at=_moment(rng, day),
        gateway_team=f"team-{project.team}",
        caller=project.team,
        team=payer,
        project=project.project_id,
        application=None,
        environment=None,
        provider="pinecone",
        model=None,
        operation="vector_query",
        vector_index_id=index,
        **units,
    )


# --- GPUs --------------------------------------------------------------------------------------------------------

NODES = ("gpu-node-1", "gpu-node-2", "gpu-node-3", "gpu-node-4")
CARDS_PER_NODE = 4
JOBS_PER_DAY = {"data-science": 5.0, "docs": 3.5, "search": 2.5, "risk": 2.5, "platform": 0.8}
JOB_NAMES = ("train", "finetune-lora", "eval|nightly", "tokenise|shard", "sweep", "reindex-full", "export")
STATES = (  # (state, exit code, weight)
    ("COMPLETED", "0:0", 80), ("FAILED", "1:0", 8), ("CANCELLED by 6012", "0:15", 7), ("TIMEOUT", "0:0", 3),
    ("OUT_OF_MEMORY", "0:125", 2),
)  # fmt: skip
CROSSING_JOB = datetime(2026, 9, 30, 16, 20)  # a whole node, until the morning of the first day of October
END_OF_TIME = datetime(2026, 10, 31, 23, 0)


def jobs(seed: int) -> tuple[GpuJob, ...]:
    """Batch jobs on sixteen cards: first come, first served, never more cards than there are."""
    rng = Random(f"{seed}/jobs")
    free = {node: [datetime(2026, 9, 1)] * CARDS_PER_NODE for node in NODES}
    made: list[GpuJob] = []
    raw = 7000
    for submit, team, gpus, length in _requests(rng):
        names = NODES[:2] if gpus > CARDS_PER_NODE else (_freest(free, gpus),)
        per_node = gpus // len(names)
        start = max([submit + timedelta(seconds=rng.randrange(3, 90)), *(sorted(free[n])[per_node - 1] for n in names)])
        end = start + length
        if end > END_OF_TIME:
            continue
        for name in names:
            free[name] = [end] * per_node + sorted(free[name])[per_node:]
        raw += rng.randrange(1, 5)
        state, code, _ = rng.choices(STATES, [weight for *_, weight in STATES])[0]
        array = rng.random() < 0.12
        made.append(
            GpuJob(
                job_id=f"{raw - 1}_{rng.randrange(1, 9)}" if array else str(raw),
                raw_id=raw,
                account=SLURM_ACCOUNTS[team],
                team=team,
                name=rng.choice(JOB_NAMES),
                gpus=gpus,
                nodes=names,
                submit=submit,
                start=start,
                end=end,
                state="COMPLETED" if submit == CROSSING_JOB else state,
                exit_code="0:0" if submit == CROSSING_JOB else code,
                typed=rng.random() < 0.5,
            )
        )
    return tuple(sorted(made, key=lambda job: (job.start, job.raw_id)))


def _requests(rng: Random) -> list[tuple[datetime, str, int, timedelta]]:
    wanted = [(CROSSING_JOB, "docs", 4, timedelta(hours=17, minutes=25))]
    for day, busy in _days():
        for team, often in JOBS_PER_DAY.items():
            for _ in range(_count(rng, often * busy)):
                hours = min(rng.lognormvariate(1.3, 0.8), 20)
                gpus = rng.choices((1, 2, 4, 8), (5, 4, 3, 0.4))[0]
                wanted.append(
                    (_moment(rng, day).replace(microsecond=0), team, gpus, timedelta(seconds=int(hours * 3600)))
                )
    return sorted(wanted)


def _freest(free: dict[str, list[datetime]], gpus: int) -> str:
    return min(free, key=lambda node: (sorted(free[node])[gpus - 1], node))


def serving() -> Serving:
    """Eight cards in one node; three pods of the model server hold two each, and two stand idle. One night all are."""
    cards = [f"GPU-{sha256(f'serving/{n}'.encode()).hexdigest()[:12]}" for n in range(8)]
    pods = tuple(("vllm-prod", f"vllm-llama70b-{n // 2}", cards[n]) for n in range(6))
    return Serving(node="serving-1", gpu_model="H100", pods=pods, cards=8)


def notebooks(seed: int) -> tuple[CardHour, ...]:
    """Four small cards: one held day and night and hardly working, one cut into slices by day, one by night, one free."""
    rng = Random(f"{seed}/notebooks")
    cards = [f"GPU-{sha256(f'notebooks/{n}'.encode()).hexdigest()[:12]}" for n in range(3)]
    held: list[CardHour] = []
    for day, _ in _days():
        for clock in range(24):
            hour = datetime(day.year, day.month, day.day, clock)
            wanted = [("data-science", cards[0], 4, 0.2)]
            if 8 <= clock < 18:
                wanted += [("search", cards[1], 2, 0.7), ("risk", cards[1], 1, 0.5)]
            if clock >= 20 or clock < 4:
                wanted += [("docs", cards[2], 4, 0.95)]
            for team, card, slices, busy in wanted:
                active = min(3600, max(0, int(rng.gauss(busy, 0.1) * 3600)))
                namespace = f"nb-{team}"
                held.append(CardHour(hour, "nb-node-1", card, "NVIDIA A30", slices, 4, namespace, team, f"notebook-{team}", active))
    return tuple(held)

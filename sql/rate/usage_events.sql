-- Every gateway event once, with who called, who pays, what it metered and what it should have cost.
-- grain: source, event_id
-- A gateway cache hit has empty meters and so costs nothing; a model without a price has no cost, which is not zero.
with tiers as (
    select distinct provider, model, service_tier from rates where usage_period = $period
),
metered as (
    select
        e.*,
        e.input_uncached_tokens + e.cache_read_tokens + e.cache_write_5m_tokens + e.cache_write_1h_tokens
            + e.audio_input_tokens as input_total,
        e.input_uncached_tokens + e.cache_read_tokens + e.cache_write_5m_tokens + e.cache_write_1h_tokens
            + e.audio_input_tokens + e.output_tokens + e.reasoning_tokens + e.audio_output_tokens as tokens,
        case when t.service_tier is null then 'standard' else e.service_tier end as rated_tier
    from events e
    left join tiers t on t.provider = e.price_provider and t.model = e.price_model and t.service_tier = e.service_tier
)
select
    e.event_id, e.source, e.occurred_at, e.usage_date, e.provider_day, e.caller_team_id, e.team_id, e.project_id,
    e.application, e.environment, e.customer_id, e.user_tier, e.request_type, e.api_key_id,
    e.principal, e.inference_profile, e.sub_account_id, e.provider, e.billing_account_id, e.model, e.model_as_logged,
    e.region, e.service_tier, e.operation, e.vector_index_id,
    e.serving_pool, e.trace_id, e.session_id, e.attempt, e.status, e.gateway_cache, e.routing_reason, e.quality_score,
    e.latency_ms, e.input_uncached_tokens, e.cache_read_tokens, e.cache_write_5m_tokens, e.cache_write_1h_tokens,
    e.output_tokens, e.reasoning_tokens, e.audio_input_tokens, e.audio_output_tokens, e.avoided_input_tokens,
    e.avoided_output_tokens, e.images, e.search_units, e.queries, e.requests,
    case when r.input_gt > 0 then '>' || r.input_gt else '' end as context_tier,
    case when e.tokens = 0 then 0 else round_even(
        coalesce(e.input_uncached_tokens::decimal(18, 0) * r.list_input_uncached::decimal(20, 18), 0)
        + coalesce(e.cache_read_tokens::decimal(18, 0) * r.list_cache_read::decimal(20, 18), 0)
        + coalesce(e.cache_write_5m_tokens::decimal(18, 0) * r.list_cache_write_5m::decimal(20, 18), 0)
        + coalesce(e.cache_write_1h_tokens::decimal(18, 0) * r.list_cache_write_1h::decimal(20, 18), 0)
        + coalesce(e.output_tokens::decimal(18, 0) * r.list_output::decimal(20, 18), 0)
        + coalesce(e.reasoning_tokens::decimal(18, 0) * r.list_reasoning::decimal(20, 18), 0)
        + coalesce(e.audio_input_tokens::decimal(18, 0) * r.list_audio_input::decimal(20, 18), 0)
        + coalesce(e.audio_output_tokens::decimal(18, 0) * r.list_audio_output::decimal(20, 18), 0)
        + case when r.rate_id is null then null else 0 end, 12) end::decimal(38, 12) as list_cost,
    case when e.tokens = 0 then 0 else round_even(
        coalesce(e.input_uncached_tokens::decimal(18, 0) * r.contracted_input_uncached::decimal(20, 18), 0)
        + coalesce(e.cache_read_tokens::decimal(18, 0) * r.contracted_cache_read::decimal(20, 18), 0)
        + coalesce(e.cache_write_5m_tokens::decimal(18, 0) * r.contracted_cache_write_5m::decimal(20, 18), 0)
        + coalesce(e.cache_write_1h_tokens::decimal(18, 0) * r.contracted_cache_write_1h::decimal(20, 18), 0)
        + coalesce(e.output_tokens::decimal(18, 0) * r.contracted_output::decimal(20, 18), 0)
        + coalesce(e.reasoning_tokens::decimal(18, 0) * r.contracted_reasoning::decimal(20, 18), 0)
        + coalesce(e.audio_input_tokens::decimal(18, 0) * r.contracted_audio_input::decimal(20, 18), 0)
        + coalesce(e.audio_output_tokens::decimal(18, 0) * r.contracted_audio_output::decimal(20, 18), 0)
        + case when r.rate_id is null then null else 0 end, 12) end::decimal(38, 12) as contracted_cost,
    r.rate_id,
    case when e.tokens = 0 then 'not metered' when r.rate_id is null then 'unpriced' else r.rate_source end as rate_source,
    e.source_cost,
    e.source_file,
    e.source_row
from metered e
left join rates r on r.usage_period = $period and r.provider = e.price_provider and r.model = e.price_model and r.service_tier = e.rated_tier
    and e.usage_date >= r.valid_from and e.usage_date < r.valid_to
    and e.input_total > r.input_gt and e.input_total <= r.input_le

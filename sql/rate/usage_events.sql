-- Every gateway event once, with who called, who pays, what it metered and what it should have cost.
-- grain: source, event_id
-- A gateway cache hit costs nothing, and neither does a failure that counted nothing. A call of which anything has no price, and
-- one that succeeded without counts, have no cost, which is not zero.
-- A service tier or region that has no price of its own on the day costs what the standard tier, and everywhere else, costs.
with tiers as (
    select provider, model, service_tier, valid_from, valid_to
    from rates
    where usage_period = $period and region = '' and input_gt = -1 and minute_from = 0
),
regions as (
    select provider, model, service_tier, region, valid_from, valid_to
    from rates
    where usage_period = $period and region <> '' and input_gt = -1 and minute_from = 0
),
-- List prices have twelve digits: what they make of whole tokens needs no rounding. A kind of token that has none is told apart.
-- They and what they make fit into 64 bits; a row that costs a million dollars by one of them is no call, and has no cost.
known as (
    select
        rate_id, rate_source, provider, model, service_tier, region, valid_from, valid_to, minute_from, minute_to, input_gt, input_le,
        coalesce(r.list_input_uncached, 0)::decimal(18, 12) as list_input_uncached,
        r.list_input_uncached is null as lacks_input_uncached,
        coalesce(r.list_cache_read, 0)::decimal(18, 12) as list_cache_read,
        r.list_cache_read is null as lacks_cache_read,
        coalesce(r.list_cache_write_5m, 0)::decimal(18, 12) as list_cache_write_5m,
        r.list_cache_write_5m is null as lacks_cache_write_5m,
        coalesce(r.list_cache_write_1h, 0)::decimal(18, 12) as list_cache_write_1h,
        r.list_cache_write_1h is null as lacks_cache_write_1h,
        coalesce(r.list_output, 0)::decimal(18, 12) as list_output,
        r.list_output is null as lacks_output,
        coalesce(r.list_reasoning, 0)::decimal(18, 12) as list_reasoning,
        r.list_reasoning is null as lacks_reasoning,
        list_audio_input::decimal(18, 12) as list_audio_input,
        list_audio_output::decimal(18, 12) as list_audio_output,
        list_images::decimal(18, 12) as list_images,
        list_search_units::decimal(18, 12) as list_search_units,
        list_requests::decimal(18, 12) as list_requests,
        contracted_input_uncached::decimal(20, 18) as contracted_input_uncached,
        contracted_cache_read::decimal(20, 18) as contracted_cache_read,
        contracted_cache_write_5m::decimal(20, 18) as contracted_cache_write_5m,
        contracted_cache_write_1h::decimal(20, 18) as contracted_cache_write_1h,
        contracted_output::decimal(20, 18) as contracted_output,
        contracted_reasoning::decimal(20, 18) as contracted_reasoning,
        contracted_audio_input::decimal(20, 18) as contracted_audio_input,
        contracted_audio_output::decimal(20, 18) as contracted_audio_output,
        contracted_images::decimal(20, 18) as contracted_images,
        contracted_search_units::decimal(20, 18) as contracted_search_units,
        contracted_requests::decimal(20, 18) as contracted_requests
    from rates r
    where usage_period = $period
),
-- Images and search units are counted beside tokens too: they have to have a price where nothing else tells the size of the call.
metered as (
    select
        e.* exclude (price_provider, price_model),
        coalesce(e.price_provider, e.provider) as price_provider,
        coalesce(e.price_model, e.model) as price_model,
        e.input_uncached_tokens + e.cache_read_tokens + e.cache_write_5m_tokens + e.cache_write_1h_tokens
            + e.audio_input_tokens as input_total,
        -- What decides the context step: a row that sums up many requests is taken as so many of the same size.
        case when e.requests > 1 then (input_total + e.requests - 1) // e.requests else input_total end as input_of_request,
        e.input_uncached_tokens + e.cache_read_tokens + e.cache_write_5m_tokens + e.cache_write_1h_tokens
            + e.audio_input_tokens + e.output_tokens + e.reasoning_tokens + e.audio_output_tokens as tokens,
        tokens > 0 or (e.model is not null and e.images + e.search_units > 0) as is_metered,
        e.audio_input_tokens + e.audio_output_tokens + e.images + e.search_units > 0 as is_rare,
        case when e.gateway_cache <> 'none' or e.status <> 'success' or e.requests = 0 then 0 end::decimal(38, 12) as unmetered_cost,
        date_part('hour', e.occurred_at) * 60 + date_part('minute', e.occurred_at) as minute_of_day
    from events e
),
tiered as (
    select m.*, coalesce(t.service_tier, 'standard') as rated_tier
    from metered m
    left join tiers t on t.provider = m.price_provider and t.model = m.price_model and t.service_tier = nullif(m.service_tier, 'standard')
        and m.usage_date >= t.valid_from and m.usage_date < t.valid_to
),
placed as (
    select t.*, coalesce(g.region, '') as rated_region
    from tiered t
    left join regions g on g.provider = t.price_provider and g.model = t.price_model and g.service_tier = t.rated_tier
        and g.region = lower(t.region) and t.usage_date >= g.valid_from and t.usage_date < g.valid_to
),
summed as (
    select
        m.*,
        case when r.input_gt > 0 then '>' || r.input_gt else '' end as context_tier,
        r.rate_id as found_rate,
        r.rate_source as found_source,
        m.is_metered and r.rate_id is not null and not (
            (m.input_uncached_tokens > 0 and r.lacks_input_uncached)
            or (m.cache_read_tokens > 0 and r.lacks_cache_read)
            or (m.cache_write_5m_tokens > 0 and r.lacks_cache_write_5m)
            or (m.cache_write_1h_tokens > 0 and r.lacks_cache_write_1h)
            or (m.output_tokens > 0 and r.lacks_output)
            or (m.reasoning_tokens > 0 and r.lacks_reasoning)) as is_listed,
        try(case when is_listed then
            m.input_uncached_tokens::decimal(18, 0) * r.list_input_uncached
            + m.cache_read_tokens::decimal(18, 0) * r.list_cache_read
            + m.cache_write_5m_tokens::decimal(18, 0) * r.list_cache_write_5m
            + m.cache_write_1h_tokens::decimal(18, 0) * r.list_cache_write_1h
            + m.output_tokens::decimal(18, 0) * r.list_output
            + m.reasoning_tokens::decimal(18, 0) * r.list_reasoning
            + case when m.is_rare or r.list_requests is not null then
                case when m.audio_input_tokens > 0 then m.audio_input_tokens::decimal(18, 0) * r.list_audio_input else 0 end
                + case when m.audio_output_tokens > 0 then m.audio_output_tokens::decimal(18, 0) * r.list_audio_output else 0 end
                + case when m.images > 0 and (m.tokens = 0 or r.list_images is not null) then m.images::decimal(18, 0) * r.list_images else 0 end
                + case when m.search_units > 0 and (m.tokens = 0 or r.list_search_units is not null) then m.search_units::decimal(18, 0) * r.list_search_units else 0 end
                + coalesce(m.requests::decimal(18, 0) * r.list_requests, 0) else 0 end end) as list_sum,
        case when m.is_metered and r.rate_source <> 'list' then
            case when m.input_uncached_tokens > 0 then m.input_uncached_tokens::decimal(18, 0) * r.contracted_input_uncached else 0 end
            + case when m.cache_read_tokens > 0 then m.cache_read_tokens::decimal(18, 0) * r.contracted_cache_read else 0 end
            + case when m.cache_write_5m_tokens > 0 then m.cache_write_5m_tokens::decimal(18, 0) * r.contracted_cache_write_5m else 0 end
            + case when m.cache_write_1h_tokens > 0 then m.cache_write_1h_tokens::decimal(18, 0) * r.contracted_cache_write_1h else 0 end
            + case when m.output_tokens > 0 then m.output_tokens::decimal(18, 0) * r.contracted_output else 0 end
            + case when m.reasoning_tokens > 0 then m.reasoning_tokens::decimal(18, 0) * r.contracted_reasoning else 0 end
            + case when m.is_rare or r.list_requests is not null then
                case when m.audio_input_tokens > 0 then m.audio_input_tokens::decimal(18, 0) * r.contracted_audio_input else 0 end
                + case when m.audio_output_tokens > 0 then m.audio_output_tokens::decimal(18, 0) * r.contracted_audio_output else 0 end
                + case when m.images > 0 and (m.tokens = 0 or r.contracted_images is not null) then m.images::decimal(18, 0) * r.contracted_images else 0 end
                + case when m.search_units > 0 and (m.tokens = 0 or r.contracted_search_units is not null) then m.search_units::decimal(18, 0) * r.contracted_search_units else 0 end
                + coalesce(m.requests::decimal(18, 0) * r.contracted_requests, 0) else 0 end end as other_sum,
        case when m.is_metered and coalesce(case when r.rate_source = 'list' then list_sum end, other_sum) is null then case
            when r.rate_id is null then 'no price of the model'
            when m.input_uncached_tokens > 0 and r.contracted_input_uncached is null then 'no price of input uncached tokens'
            when m.cache_read_tokens > 0 and r.contracted_cache_read is null then 'no price of cache read tokens'
            when m.cache_write_5m_tokens > 0 and r.contracted_cache_write_5m is null then 'no price of cache write 5m tokens'
            when m.cache_write_1h_tokens > 0 and r.contracted_cache_write_1h is null then 'no price of cache write 1h tokens'
            when m.output_tokens > 0 and r.contracted_output is null then 'no price of output tokens'
            when m.reasoning_tokens > 0 and r.contracted_reasoning is null then 'no price of reasoning tokens'
            when m.audio_input_tokens > 0 and r.contracted_audio_input is null then 'no price of audio input tokens'
            when m.audio_output_tokens > 0 and r.contracted_audio_output is null then 'no price of audio output tokens'
            when m.images > 0 and r.contracted_images is null then 'no price of images'
            when m.search_units > 0 and r.contracted_search_units is null then 'no price of search units'
            else 'a million dollars or more in one row of the log' end end as unpriced_because
    from placed m
    left join known r on r.provider = m.price_provider and r.model = m.price_model
        and r.service_tier = m.rated_tier and r.region = m.rated_region
        and m.usage_date >= r.valid_from and m.usage_date < r.valid_to
        and m.minute_of_day >= r.minute_from and m.minute_of_day < r.minute_to
        and m.input_of_request > r.input_gt and m.input_of_request <= r.input_le
),
-- Half to even at the twelfth digit, where a price has more than twelve. A cast rounds a half up, which is right unless the sum lies exactly between two and the upper
-- one is odd: no other sum needs more than the cast.
rounded as (
    select
        *,
        case
            when is_metered then list_sum::decimal(38, 12)
            else unmetered_cost end as list_cost,
        case
            when found_source = 'list' then list_cost
            when other_sum::decimal(38, 12) - other_sum = 0.0000000000005::decimal(18, 18) then round_even(other_sum, 12)::decimal(38, 12)
            when is_metered then other_sum::decimal(38, 12)
            else unmetered_cost end as contracted_cost
    from summed
)
select
    event_id, source, occurred_at, usage_date, provider_day, caller_team_id, team_id, project_id,
    application, environment, customer_id, user_tier, request_type, api_key_id,
    principal, inference_profile, sub_account_id, provider, billing_account_id, model, model_as_logged,
    region, service_tier, operation, vector_index_id,
    serving_pool, trace_id, session_id, attempt, status, gateway_cache, routing_reason, quality_score,
    system_prompt_tokens, latency_ms, input_uncached_tokens, cache_read_tokens, cache_write_5m_tokens, cache_write_1h_tokens,
    output_tokens, reasoning_tokens, audio_input_tokens, audio_output_tokens, avoided_input_tokens,
    avoided_output_tokens, images, search_units, queries, requests,
    context_tier, list_cost, contracted_cost,
    case when unpriced_because is null and (is_metered or gateway_cache <> 'none') then found_rate end as rate_id,
    case when not is_metered then 'not metered' when unpriced_because is not null then 'unpriced' else found_source end as rate_source,
    unpriced_because, unknown_trigger,
    source_cost, source_file, source_row
from rounded

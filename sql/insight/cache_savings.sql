-- What caches saved each month, at the price in force on each day. `provider_prompt_cache` is the vendor's own cache: reading from it is
-- cheaper than plain input, writing to it dearer, so what it saved may be negative. `gateway_cache` is the gateway's: its hits never
-- reached a vendor, and what they would have cost is an estimate that nothing posts. Nobody tells what running that cache costs, so what
-- it saved in the end is not known here.
-- grain: period, kind, team_id, project_id, application, model
--   kind: provider_prompt_cache or gateway_cache
--   basis: metered, or estimate
--   read_tokens: input answered by the vendor's cache; NULL for the gateway's
--   written_tokens: input written to the vendor's cache; NULL for the gateway's
--   hits: calls answered by the gateway's cache; NULL for the vendor's
--   avoided_tokens: input and output that these calls would have counted
--   read_saved: what reading saved; the price of plain input less that of cached input
--   write_premium: what writing cost on top of plain input
--   saved: read_saved less write_premium, or what the hits would have cost; NULL where nothing of it has a price
--   unpriced_tokens: tokens that it leaves out because they have no price
--   run_cost: what running the cache cost; NULL: not known
--   currency: the currency of prices
with used as (
    select
        p.period, u.team_id, u.project_id, u.application, u.model, u.gateway_cache, u.events,
        u.cache_read_tokens::decimal(18, 0) as read, u.cache_write_5m_tokens::decimal(18, 0) as written_5m, u.cache_write_1h_tokens::decimal(18, 0) as written_1h,
        u.avoided_input_tokens::decimal(18, 0) as avoided_input, u.avoided_output_tokens::decimal(18, 0) as avoided_output,
        r.contracted_input_uncached::decimal(20, 18) as plain, r.contracted_output::decimal(20, 18) as output,
        r.contracted_cache_read::decimal(20, 18) as cached,
        r.contracted_cache_write_5m::decimal(20, 18) as write_5m, r.contracted_cache_write_1h::decimal(20, 18) as write_1h
    from usage_daily u
    join periods p on u.usage_date >= p.starts_on and u.usage_date < p.ends_on
    left join rates r on r.usage_period = p.period and r.rate_id = u.rate_id
    where u.usage_date <= $through
),
provider as (
    select
        period, 'provider_prompt_cache' as kind, 'metered' as basis, team_id, project_id, application, model,
        read as read_tokens, written_5m + written_1h as written_tokens,
        case when read > 0 then read * (plain - cached) else 0 end as read_saved,
        case when written_5m > 0 then written_5m * (write_5m - plain) else 0 end
            + case when written_1h > 0 then written_1h * (write_1h - plain) else 0 end as write_premium,
        read_saved - write_premium as saved,
        case when saved is null then read + written_5m + written_1h else 0 end as unpriced_tokens
    from used
    where read + written_5m + written_1h > 0
),
gateway as (
    select
        period, 'gateway_cache' as kind, 'estimate' as basis, team_id, project_id, application, model,
        events as hits, avoided_input + avoided_output as avoided_tokens,
        case when avoided_input > 0 then avoided_input * plain else 0 end + case when avoided_output > 0 then avoided_output * output else 0 end as saved,
        case when saved is null then avoided_input + avoided_output else 0 end as unpriced_tokens
    from used
    where gateway_cache <> 'none'
),
either as (
    select * from provider
    union all by name
    select * from gateway
)
select
    period, kind, basis, team_id, project_id, application, model,
    sum(read_tokens)::bigint as read_tokens, sum(written_tokens)::bigint as written_tokens,
    sum(hits)::bigint as hits, sum(avoided_tokens)::bigint as avoided_tokens,
    sum(read_saved)::decimal(38, 12) as read_saved, sum(write_premium)::decimal(38, 12) as write_premium, sum(saved)::decimal(38, 12) as saved,
    sum(unpriced_tokens)::bigint as unpriced_tokens, null::decimal(38, 12) as run_cost,
    price_currency() as currency
from either
group by all

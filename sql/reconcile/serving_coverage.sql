-- Tokens that the gateways logged against those that the model servers counted themselves, day by day.
-- state: matched; unattributed (the servers counted more than the gateways logged); beyond_counters (the gateways logged more);
-- no_counters (no server counters for the day).
-- grain: usage_date, serving_pool, meter
--   unattributed_tokens: counted by the servers, logged by no gateway: a portion of the pool's cost of its own
with logged as (
    select usage_date, serving_pool, meter, sum(tokens)::hugeint as gateway_tokens
    from serving_tokens
    where usage_period = $period
    group by all
),
counted as (
    select usage_date, serving_pool, meter, tokens as served_tokens
    from served_tokens
    where usage_period = $period
),
compared as (
    select
        coalesce(l.usage_date, c.usage_date) as usage_date, coalesce(l.serving_pool, c.serving_pool) as serving_pool,
        coalesce(l.meter, c.meter) as meter, coalesce(l.gateway_tokens, 0) as gateway_tokens,
        coalesce(c.served_tokens, case when d.usage_date is not null then 0 end) as served_tokens
    from logged l
    full join counted c on c.usage_date = l.usage_date and c.serving_pool = l.serving_pool and c.meter = l.meter
    left join (select distinct usage_date, serving_pool from counted) d
        on d.usage_date = l.usage_date and d.serving_pool = l.serving_pool
)
select
    c.usage_date, c.serving_pool, c.meter, c.gateway_tokens::hugeint as gateway_tokens, c.served_tokens::hugeint as served_tokens,
    greatest(coalesce(c.served_tokens - c.gateway_tokens, 0), 0)::hugeint as unattributed_tokens,
    (greatest(coalesce(c.served_tokens - c.gateway_tokens, 0), 0)::decimal(18, 0) * coalesce(w.weight, 0))::decimal(38, 6)
        as unattributed_weighted_tokens,
    case
        when c.served_tokens is null then 'no_counters'
        when c.served_tokens > c.gateway_tokens then 'unattributed'
        when c.served_tokens < c.gateway_tokens then 'beyond_counters'
        else 'matched' end as state
from compared c
left join policy_token_weights w on w.serving_pool = c.serving_pool and w.meter = c.meter
    and c.usage_date >= w.valid_from and c.usage_date < w.valid_to

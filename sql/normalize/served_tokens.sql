-- Tokens that our own model servers counted themselves: control totals of what the gateways logged, never a cost of their own.
-- grain: usage_date, serving_pool, meter
with kept as (
    select l.*
    from landed_gpu l
    anti join event_losers x on x.delivery_id = l.delivery_id and x.source_row = l.source_row
    where l.holder_kind = 'server' and l.interval_start >= $period_start and l.interval_start < $period_end
        and l.interval_start::date <= $as_of
),
counted as (
    select
        k.interval_start::date as usage_date, m.serving_pool,
        sum(coalesce(k.input_tokens, 0) - coalesce(k.cache_read_tokens, 0)) as input_uncached,
        sum(coalesce(k.cache_read_tokens, 0)) as cache_read,
        sum(coalesce(k.output_tokens, 0)) as output
    from kept k
    join policy_serving_models m on m.source = k.source and m.model_name = k.holder_id
    group by all
)
select usage_date, serving_pool, meter, tokens::hugeint as tokens
from (unpivot counted on input_uncached, cache_read, output into name meter value tokens)

-- The rates that statements convert with: what finance landed, frozen for a month by the night that soft-closed it. A rate
-- that was missing then is frozen at the close; one that lands after it was frozen changes nothing.
-- grain: period, currency
--   currency: ISO 4217 code of what is converted
--   rate_source: where finance took the rate from
--   rate: units of the company's currency for one unit of `currency`
--   frozen_on: day as of which the rate was frozen; NULL while a newer one would still replace it
--   landed_rate: the newest rate in landing, where it is not the one that holds
with arrivals as (
    select delivery_id, max(seq) as seq
    from source_files
    where kind = 'fx' and state = 'landed'
    group by all
),
landed as (
    select l.period, l.currency, l.rate::decimal(38, 12) as rate, l.rate_source
    from landed_fx l
    join arrivals a on a.delivery_id = l.delivery_id
    join periods p on p.period = l.period
    qualify row_number() over (partition by l.period, l.currency order by a.seq desc, l.source_row desc) = 1
)
select
    coalesce(f.period, n.period) as period,
    coalesce(f.currency, n.currency) as currency,
    coalesce(f.rate, n.rate) as rate,
    case when f.rate is not null then f.rate_source else n.rate_source end as rate_source,
    f.frozen_on,
    case when n.rate <> f.rate then n.rate end as landed_rate
from frozen_rates f
full join landed n on n.period = f.period and n.currency = f.currency

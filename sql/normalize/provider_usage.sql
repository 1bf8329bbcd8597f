-- What the vendors' own usage reports say was used. Evidence of quantity: it is compared, never charged.
-- Of every report, account and day the newest delivery counts, whichever source brought it.
-- grain: report, provider, billing_account_id, sub_account_id, api_key_id, model, region, service_tier, context_window, usage_date, meter
--   usage_date: the vendor's own day
--   context_window: context window as the vendor names it
--   meter: one of our meters, input where the report does not split it, else the vendor's own word; meters of a report do not overlap
--   quantity: quantity in unit, never zero
with arrivals as (
    select delivery_id, max(seq) as seq
    from source_files
    where kind = 'usage' and state = 'landed'
    group by all
),
newest as (
    select c.report, c.billing_account_id, c.usage_date, arg_max(c.delivery_id, a.seq) as delivery_id
    from usage_coverage c
    join arrivals a on a.delivery_id = c.delivery_id
    group by all
)
select
    l.report,
    p.provider,
    l.billing_account_id,
    l.sub_account_id,
    l.api_key_id,
    coalesce(r.model, lower(l.model_as_logged)) as model,
    l.region,
    lower(l.service_tier) as service_tier,
    l.context_window,
    l.usage_date,
    l.meter,
    l.unit,
    bool_or(l.derived) as derived,
    sum(l.quantity)::decimal(38, 12) as quantity
from landed_usage l
join newest n on n.delivery_id = l.delivery_id and n.report = l.report and n.billing_account_id = l.billing_account_id
    and n.usage_date = l.usage_date
join policy_usage p on p.source = l.source
left join model_names r on r.usage_period = $period and r.provider = p.provider and r.model_as_logged = l.model_as_logged
where l.usage_date >= $period_start and l.usage_date < $period_end and l.usage_date <= $as_of
group by all

-- What an owner should look at: money or usage in a named state other than settled, counted in dollars where it can be.
-- grain: period, kind, what
--   kind: unallocated, unmetered, unpriced, unbilled, not_comparable, out_of_scope, gpu_beyond_capacity, gpu_without_cost, gpu_without_rate, rejected
--   what: the account, model or source it concerns
--   amount: dollars concerned, in the bill's currency; NULL where no price is known
--   events: events, lines or rows concerned
--   detail: one sentence for the reader
with unallocated as (
    select
        period, 'unallocated' as kind, coalesce(reason, cost_pool) as what, sum(effective_cost)::decimal(38, 12) as amount,
        count(*) as events, 'cost that found no owner' as detail
    from ledger
    where team_id = 'unallocated'
    group by all
),
unmetered as (
    select
        usage_period as period, 'unmetered' as kind, provider || ' ' || coalesce(model, service) as what,
        sum(effective_cost)::decimal(38, 12) as amount, count(*) as events,
        'billed, but beyond what the gateways saw' as detail
    from charge_portions
    where portion = 'excess'
    group by all
),
unpriced as (
    select
        p.period, 'unpriced' as kind, u.provider || ' ' || coalesce(u.model, '?') as what, null::decimal(38, 12) as amount,
        sum(u.unpriced_events)::bigint as events, 'usage of a model without a price' as detail
    from usage_daily u
    join periods p on u.usage_date >= p.starts_on and u.usage_date < p.ends_on
    where u.unpriced_events > 0 and u.serving_pool is null
    group by all
),
states as (
    select
        usage_period as period, state as kind, provider || ' ' || model as what,
        sum(coalesce(billed_cost, metered_cost))::decimal(38, 12) as amount, count(*) as events, any_value(treatment) as detail
    from reconciliation
    where state in ('unbilled', 'not_comparable')
    group by all
),
foreign_lines as (
    select
        usage_period as period, 'out_of_scope' as kind, billing_account_id || ' ' || coalesce(sub_account_id, '') as what,
        sum(billed_cost)::decimal(38, 12) as amount, count(*) as events, 'lines of a shared bill that are not ours' as detail
    from bill_lines
    where not in_scope
    group by all
),
held as (
    select usage_period, usage_hour, cluster, gpu_model, sum(gpu_seconds) as seconds
    from gpu_hourly
    where use in ('used', 'idle_reserved', 'idle_stranded')
    group by all
),
declared as (
    select h.usage_period, h.usage_hour, h.cluster, h.gpu_model, sum(c.gpus)::decimal(18, 0) * 3600 as seconds
    from (select distinct usage_period, usage_hour, cluster, gpu_model from held) h
    join policy_gpu_capacity c on c.cluster = h.cluster and c.gpu_model = h.gpu_model
        and h.usage_hour >= c.valid_from and h.usage_hour < c.valid_to
    group by all
),
beyond_capacity as (
    select
        h.usage_period as period, 'gpu_beyond_capacity' as kind, h.cluster || ' ' || h.gpu_model as what,
        null::decimal(38, 12) as amount, count(*) as events, 'hours in which more GPUs were held than contracts.yaml declares' as detail
    from held h
    join declared d on d.usage_period = h.usage_period and d.usage_hour = h.usage_hour and d.cluster = h.cluster and d.gpu_model = h.gpu_model
    where h.seconds > d.seconds
    group by all
),
without_cost as (
    select
        h.usage_period as period, 'gpu_without_cost' as kind, h.cluster || ' ' || coalesce(h.gpu_model, '?') as what,
        null::decimal(38, 12) as amount, count(*) as events, 'hours of GPUs that no bill and no declared rate pays for' as detail
    from held h
    anti join (
        select distinct p.usage_period, p.cluster, p.usage_date, coalesce(p.model, '') as gpu_model from charge_portions p where p.cluster is not null
    ) c on c.usage_period = h.usage_period and c.cluster = h.cluster and c.usage_date = h.usage_hour::date
        and c.gpu_model in (coalesce(h.gpu_model, ''), '')
    group by all
),
without_rate as (
    select
        g.usage_period as period, 'gpu_without_rate' as kind, g.cluster || ' ' || coalesce(g.gpu_model, '?') as what,
        null::decimal(38, 12) as amount, count(*) as events, 'hours of GPUs that the rate card has no equivalent for: nobody is charged for them' as detail
    from gpu_hourly g
    join policy_rate_card r on r.cluster = g.cluster and r.unit = 'equivalent GPU-hour' and g.usage_date >= r.valid_from and g.usage_date < r.valid_to
    anti join policy_gpu_equivalents e on e.gpu_model = g.gpu_model and g.usage_date >= e.valid_from and g.usage_date < e.valid_to
    where g.serving_pool is null and g.use in ('used', 'idle_reserved')
    group by all
),
rejected as (
    select
        strftime(f.night, '%Y-%m') as period, 'rejected' as kind, q.kind || ' ' || q.source || ': ' || q.reason as what,
        null::decimal(38, 12) as amount, count(*) as events, 'rows that could not be read' as detail
    from quarantine q
    join (select distinct delivery_id, path, night from source_files) f on f.delivery_id = q.delivery_id and f.path = q.path
    group by all
)
select period, kind, what, amount, events, detail from unallocated
union all select period, kind, what, amount, events, detail from unmetered
union all select period, kind, what, amount, events, detail from unpriced
union all select period, kind, what, amount, events, detail from states
union all select period, kind, what, amount, events, detail from foreign_lines
union all select period, kind, what, amount, events, detail from beyond_capacity
union all select period, kind, what, amount, events, detail from without_cost
union all select period, kind, what, amount, events, detail from without_rate
union all select period, kind, what, amount, events, detail from rejected

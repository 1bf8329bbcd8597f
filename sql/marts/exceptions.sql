-- What an owner should look at: money or usage in a named state other than settled, counted in dollars where it can be.
-- grain: period, kind, what
--   kind: unallocated, unmetered, unpriced, unbilled, not_comparable, unmapped, variance_price, variance_quantity, variance_cost,
--     unit_suspect, drift, usage_report_differs, invoice_differs, invoice_missing, bill_missing, out_of_scope, gpu_beyond_capacity, gpu_without_cost, gpu_without_rate,
--     unknown_trigger, told_twice, policy_edit, rate_frozen, journal_missing, rejected
--   what: the account, model or source it concerns
--   amount: dollars concerned, in the bill's currency; NULL where no price is known
--   events: events, lines or rows concerned
--   detail: one sentence for the reader
with unallocated as (
    select
        period, 'unallocated' as kind, coalesce(reason, cost_pool) as what, sum(effective_cost)::decimal(38, 12) as amount,
        count(*) as events,
        'cost that found no owner' || if(sum(chargeback_cost) = 0 and sum(effective_cost) <> 0, '; the rate card sells it: whoever uses the service pays', '') as detail
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
    having bool_or(effective_cost <> 0)
),
unpriced as (
    select
        p.period, 'unpriced' as kind, u.provider || ' ' || coalesce(u.model, '?') as what, null::decimal(38, 12) as amount,
        sum(u.unpriced_events)::bigint as events, string_agg(distinct u.unpriced_because, '; ' order by u.unpriced_because) as detail
    from usage_daily u
    join periods p on u.usage_date >= p.starts_on and u.usage_date < p.ends_on
    where u.unpriced_events > 0 and u.serving_pool is null
    group by all
),
unknown_triggers as (
    select
        p.period, 'unknown_trigger' as kind, u.unknown_trigger as what, sum(coalesce(u.contracted_cost, u.list_cost))::decimal(38, 12) as amount,
        sum(u.events)::bigint as events,
        'named as the team whose documents caused it, and not in teams.yaml: ' || string_agg(distinct u.team_id, ', ' order by u.team_id) || ' pays' as detail
    from usage_daily u
    join periods p on u.usage_date >= p.starts_on and u.usage_date < p.ends_on
    where u.unknown_trigger is not null
    group by all
),
told_twice as (
    select
        p.period, 'told_twice' as kind, t.source || ' and ' || t.other_source as what, sum(t.contracted_cost)::decimal(38, 12) as amount,
        sum(t.calls)::bigint as events, 'calls that both gateways tell: they weigh twice until one of the two is taken out of landing' as detail
    from calls_told_twice t
    join periods p on t.usage_date >= p.starts_on and t.usage_date < p.ends_on
    group by all
),
states as (
    select
        usage_period as period, state as kind, concat_ws(' ', provider, model) as what,
        sum(coalesce(billed_cost, metered_cost))::decimal(38, 12) as amount, count(*) as events, any_value(treatment) as detail
    from reconciliation
    where state in ('unbilled', 'not_comparable', 'unmapped')
    group by all
    having bool_or(coalesce(billed_cost, metered_cost) is distinct from 0)
),
variances as (
    select
        usage_period as period, state as kind, concat_ws(' ', provider, model) as what,
        sum(billed_cost - metered_cost)::decimal(38, 12) as amount, count(*) as events,
        'billed less metered, ' || days_said(min(usage_date), max(usage_date)) as detail
    from reconciliation
    where state in ('variance_price', 'variance_quantity', 'variance_cost')
    group by all
),
-- One side that is a round factor of the other, within one percent, has counted in another unit.
scales as (
    select
        r.usage_period as period, concat_ws(' ', r.provider, r.model, r.meter) as what, r.usage_date,
        greatest(abs(r.billed_cost), abs(r.metered_cost)) as amount,
        case when is_scale(r.billed_cost, r.metered_cost, f.factor) or is_scale(r.billed_quantity, r.metered_quantity, f.factor)
            then f.factor || ' times what' else '1/' || f.factor || ' of what' end as factor
    from reconciliation r
    cross join (select unnest([100, 1000, 1000000]) as factor) f
    where r.state in ('variance_price', 'variance_quantity', 'variance_cost', 'timing') and (
        is_scale(r.billed_cost, r.metered_cost, f.factor) or is_scale(r.billed_quantity, r.metered_quantity, f.factor)
        or is_scale(r.metered_cost, r.billed_cost, f.factor) or is_scale(r.metered_quantity, r.billed_quantity, f.factor))
),
unit_suspects as (
    select
        period, 'unit_suspect' as kind, what, sum(amount)::decimal(38, 12) as amount, count(*) as events,
        'the bill has ' || factor || ' was metered on ' || coalesce(min(usage_date)::varchar, 'the month')
            || if(count(*) > 1, ' and ' || (count(*) - 1) || ' other days', '') as detail
    from scales
    group by period, what, factor
),
-- The last seven days that can be compared, against what was usual in the seven before.
daily as (
    select
        usage_period as period, provider, billing_account_id, model, usage_date,
        sum(billed_cost)::decimal(38, 12) as billed, sum(metered_cost)::decimal(38, 12) as metered
    from reconciliation
    where usage_date is not null and billed_cost is not null and metered_cost > 0
    group by all
),
weeks as (
    select
        d.*, l.period as seen_in, l.last_day - d.usage_date < 7 as is_last_week,
        pico(d.billed) * 1000000 // pico(d.metered) as ratio
    from daily d
    join (select period, provider, billing_account_id, model, max(usage_date) as last_day from daily group by all) l
        on l.provider = d.provider and l.billing_account_id = d.billing_account_id and l.model is not distinct from d.model
        and d.usage_date <= l.last_day and d.usage_date > l.last_day - 14
),
trends as (
    select
        seen_in as period, provider, billing_account_id, model, min(usage_date) filter (is_last_week) as since,
        quantile_disc(ratio, 0.5) filter (not is_last_week) as usual_ratio,
        quantile_disc(ratio, 0.5) filter (is_last_week) as new_ratio,
        sum(billed) filter (is_last_week)::decimal(38, 12) as billed, sum(metered) filter (is_last_week)::decimal(38, 12) as metered,
        count(*) filter (is_last_week) as days
    from weeks
    group by all
),
drifts as (
    select
        r.period, 'drift' as kind, concat_ws(' ', r.provider, r.model) as what,
        (r.billed - money(pico(r.metered) * r.usual_ratio::hugeint // 1000000))::decimal(38, 12) as amount, r.days as events,
        'the bill moved away from what was metered in the seven days from ' || r.since as detail
    from trends r
    join policy_tolerances t on (t.provider is null or t.provider = r.provider) and r.since >= t.valid_from and r.since < t.valid_to
    where r.usual_ratio is not null and r.days >= 4
    qualify t.ord = min(t.ord) over (partition by r.period, r.provider, r.billing_account_id, r.model)
        and abs(r.new_ratio - r.usual_ratio) > t.drift_points * 10000
),
own_reports as (
    select
        usage_period as period, 'usage_report_differs' as kind, concat_ws(' ', provider, model) as what,
        sum(billed_cost - expected_cost)::decimal(38, 12) as amount, count(*) as events,
        'billed less what the vendor''s own usage report should cost, ' || days_said(min(usage_date), max(usage_date)) as detail
    from price_reconciliation
    where state in ('variance_price', 'variance_quantity', 'variance_cost')
    group by all
),
-- What a vendor's own report counts and nothing prices (seconds, characters, searches): its quantity is all that is known of it.
reported_unpriced as (
    select
        usage_period as period, 'unpriced' as kind, concat_ws(' ', provider, model, meter) || ', as reported' as what,
        null::decimal(38, 12) as amount, count(*) as events,
        coalesce(reason, 'no price') || coalesce(': ' || json_number(sum(provider_quantity)) || ' in the vendor''s own usage report', '') as detail
    from price_reconciliation
    where state = 'unpriced'
    group by usage_period, provider, model, meter, reason
),
documents as (
    select
        period, if(state = 'differs', 'invoice_differs', state) as kind, concat_ws(' ', provider, billing_account_id, invoice_id) as what,
        coalesce(difference, invoice_amount, lines_cost) as amount, 1 as events,
        case state
            when 'differs' then 'the document less the lines of the bill'
            when 'bill_missing' then 'an invoice document whose bill has not come'
            else 'a bill whose invoice document has not come' end as detail
    from invoice_reconciliation
    -- Who lands no documents of a vendor does not miss them.
    where state in ('differs', 'bill_missing') or (state = 'invoice_missing' and provider in (select provider from invoices))
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
edited as (
    select
        period, 'policy_edit' as kind, file as what, null::decimal(38, 12) as amount, entries as events,
        'an edit reaches into the closed month (' || example || '); it counts for it once the month is reopened' as detail
    from policy_edits
),
rates as (
    select
        period, 'rate_frozen' as kind, currency as what, null::decimal(38, 12) as amount, 1 as events,
        'a rate of ' || landed_rate || ' came after ' || rate || ' was frozen on ' || frozen_on || ': the frozen one holds' as detail
    from exchange_rates
    where landed_rate is not null
),
unposted as (
    select
        s.period, 'journal_missing' as kind, s.period || ' v' || s.version as what, sum(s.amount)::decimal(38, 12) as amount, count(*) as events,
        'closed before there were journals: its statements count as posted by hand' as detail
    from statement_lines s
    join versions_without_journal w on w.period = s.period and w.version = s.version
    where s.mode = 'chargeback'
    group by all
),
rejected as (
    select
        coalesce(p.period, strftime(f.night, '%Y-%m')) as period, 'rejected' as kind, q.kind || ' ' || q.source || ': ' || q.reason as what,
        null::decimal(38, 12) as amount, count(*) as events, 'rows that could not be read' as detail
    from quarantine q
    join (select distinct delivery_id, path, night from source_files) f on f.delivery_id = q.delivery_id and f.path = q.path
    left join periods p on f.night >= p.starts_on and f.night < p.ends_on
    group by all
)
select period, kind, what, amount, events, detail from unallocated
union all select period, kind, what, amount, events, detail from unmetered
union all select period, kind, what, amount, events, detail from unpriced
union all select period, kind, what, amount, events, detail from unknown_triggers
union all select period, kind, what, amount, events, detail from told_twice
union all select period, kind, what, amount, events, detail from states
union all select period, kind, what, amount, events, detail from variances
union all select period, kind, what, amount, events, detail from unit_suspects
union all select period, kind, what, amount, events, detail from drifts
union all select period, kind, what, amount, events, detail from own_reports
union all select period, kind, what, amount, events, detail from reported_unpriced
union all select period, kind, what, amount, events, detail from documents
union all select period, kind, what, amount, events, detail from foreign_lines
union all select period, kind, what, amount, events, detail from beyond_capacity
union all select period, kind, what, amount, events, detail from without_cost
union all select period, kind, what, amount, events, detail from without_rate
union all select period, kind, what, amount, events, detail from edited
union all select period, kind, what, amount, events, detail from rates
union all select period, kind, what, amount, events, detail from unposted
union all select period, kind, what, amount, events, detail from rejected

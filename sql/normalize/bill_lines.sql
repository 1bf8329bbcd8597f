-- The lines of the newest bills, one row per line and day, with the charge each became.
-- Only the source of record of a day counts; lines of a source on other days are left out.
-- A recurring fee that covers several days is spread evenly over its days inside its billing period. What contracts.yaml
-- declares as a commitment or a training cost is billed on its date, and its other costs are spread evenly over the days of
-- its term that are left; an instalment, a recurring fee for days inside its billing period, over those. What is spread is the
-- effective cost that the bill states, so that nothing is amortized twice. Prepaid credit costs nothing itself but on the last
-- day of its term: what use has left of it.
-- grain: source_file, source_row, usage_date
--   in_scope: false for a line of a shared bill that is not ours: counted, never charged
--   contract_id: the contract of contracts.yaml that the line is about
with arrivals as (
    select delivery_id, max(seq) as seq, any_value(path) as source_file
    from source_files
    where kind = 'billing' and state = 'landed'
    group by all
),
newest_whole as (
    select c.source, c.billing_account_id, c.billing_period, max(a.seq) as seq
    from bill_coverage c
    join arrivals a on a.delivery_id = c.delivery_id
    where c.usage_date is null
    group by all
),
newest_day as (
    select c.source, c.billing_account_id, c.billing_period, c.usage_date, max(a.seq) as seq
    from bill_coverage c
    join arrivals a on a.delivery_id = c.delivery_id
    where c.usage_date is not null
    group by all
),
newest as (
    select
        l.* exclude (source_file), a.source_file
    from landed_bills l
    join arrivals a on a.delivery_id = l.delivery_id
    left join newest_whole w on w.source = l.source and w.billing_account_id = l.billing_account_id
        and w.billing_period = l.billing_period
    left join newest_day d on d.source = l.source and d.billing_account_id = l.billing_account_id
        and d.billing_period = l.billing_period and d.usage_date = l.usage_date
    where a.seq >= coalesce(w.seq, 0) and a.seq >= coalesce(d.seq, 0)
),
-- Invoice documents by account, month and currency; of one document the newest delivery counts.
documents as (
    select provider, billing_account_id, billing_period, currency, sum(amount)::decimal(38, 12) as amount, sum(tax)::decimal(38, 12) as tax
    from (
        select l.*
        from landed_invoices l
        join (select delivery_id, max(seq) as seq from source_files where kind = 'invoices' and state = 'landed' group by all) a
            on a.delivery_id = l.delivery_id
        qualify a.seq = max(a.seq) over (partition by l.provider, l.billing_account_id, l.billing_period, l.invoice_id)
    )
    group by all
),
-- Account-months of which every line names an invoice and, of vendors whose documents finance lands, the documents say the same sum.
-- A bill without tax lines cannot have the tax that is on them.
invoiced as (
    select m.source, m.billing_account_id, m.billing_period
    from (
        select
            n.source, b.provider, n.billing_account_id, n.billing_period, n.billing_currency, sum(n.billed_cost)::decimal(38, 12) as amount,
            bool_or(n.charge_category = 'Tax' and n.billed_cost <> 0) as has_tax, bool_and(n.invoice_id is not null) as is_named
        from newest n
        join (select distinct source, provider from policy_billing where final_when = 'invoiced') b on b.source = n.source
        group by all
    ) m
    join policy_tolerances t on (t.provider is null or t.provider = m.provider)
        and (m.billing_period || '-01')::date >= t.valid_from and (m.billing_period || '-01')::date < t.valid_to
    left join documents d on d.provider = m.provider and d.billing_account_id = m.billing_account_id and d.billing_period = m.billing_period
        and d.currency = m.billing_currency
    qualify t.ord = min(t.ord) over (partition by m.source, m.billing_account_id, m.billing_period, m.billing_currency)
        and bool_and(m.is_named and (m.provider not in (select provider from documents)
            or coalesce(abs(d.amount - m.amount - if(m.has_tax, 0, d.tax)) <= greatest(t.invoice_amount, 0.005), m.amount = 0)))
            over (partition by m.source, m.billing_account_id, m.billing_period)
),
agreed as (
    select
        n.source_file, n.source_row,
        min_by({'contract_id': c.contract_id, 'kind': c.kind, 'spread_from': c.spread_from, 'spread_to': c.spread_to}, c.ord) as contract
    from newest n
    join policy_billing b on b.source = n.source
    join policy_contracts c on c.provider = b.provider and n.usage_date >= c.since and n.usage_date < c.valid_to
        and (c.billing_account_id is null or c.billing_account_id = n.billing_account_id)
        and (c.service is null or n.service glob c.service)
        and (c.sku_meter is null or n.sku_meter glob c.sku_meter)
        and (c.resource_id is null or n.resource_id glob c.resource_id)
        and (c.charge_description is null or n.charge_description glob c.charge_description)
        and (c.sub_account_id is null or n.sub_account_id glob c.sub_account_id)
    group by all
),
spread as (
    select
        n.*,
        a.contract.contract_id as contract_id,
        a.contract.kind as contract_kind,
        n.charge_frequency = 'Recurring' and n.charge_period_end > n.charge_period_start + interval 1 day
            and n.charge_period_end <= n.billing_period_end as is_instalment,
        coalesce(contract_kind in ('commitment', 'training') and n.effective_cost <> 0, false) and not coalesce(is_instalment, false) as has_term,
        coalesce(contract_kind in ('prepaid', 'drawn') and n.effective_cost <> 0, false) as is_credit,
        a.contract.spread_to - 1 as last_day,
        not has_term and not is_credit and n.charge_frequency = 'Recurring' and n.charge_category in ('Usage', 'Purchase') as recurs,
        case when has_term then greatest(n.usage_date, a.contract.spread_from)
            when recurs then greatest(n.charge_period_start::date, n.billing_period_start)
            else n.usage_date end as first_day,
        case when has_term then date_diff('day', first_day, a.contract.spread_to)
            when recurs then greatest(date_diff('day', first_day,
                least((n.charge_period_end - interval 1 microsecond)::date + 1, n.billing_period_end)), 1)
            else 1 end as days
    from newest n
    left join agreed a on a.source_file = n.source_file and a.source_row = n.source_row
),
-- What use drew from prepaid credit: the lines that say so, or, where the contract names none, use that is billed at nothing.
drawn as (
    select contract_id, sum(-pico(billed_cost)) as units
    from spread
    where contract_kind = 'drawn'
    group by all
    union all by name
    select c.contract_id, sum(pico(s.effective_cost) - pico(s.billed_cost)) as units
    from policy_contracts c
    join policy_billing b on b.provider = c.provider
    join spread s on s.source = b.source and s.usage_date >= c.valid_from and s.usage_date < c.valid_to
        and (c.billing_account_id is null or c.billing_account_id = s.billing_account_id)
    where c.kind = 'prepaid' and s.charge_category = 'Usage' and s.contract_id is null
        and c.contract_id not in (select contract_id from policy_contracts where kind = 'drawn')
    group by all
),
credit as (
    select contract_id, sum(pico(effective_cost))::hugeint as bought
    from spread
    where contract_kind = 'prepaid' and is_credit
    group by all
),
left_over as (
    select c.contract_id, c.bought, greatest(c.bought - coalesce(d.units, 0), 0)::hugeint as units
    from credit c
    left join drawn d on d.contract_id = c.contract_id
),
-- Cost of a day is what lies between two cumulative days; billed cost of a term lies on the line's own date, which may come before.
daily as (
    select
        s.* exclude (usage_date), s.usage_date as line_date, (s.first_day + i::integer)::date as usage_date, i as low, i + 1 as high,
        case when not s.has_term then i when i = 0 and s.first_day = s.usage_date then 0 else s.days end as billed_low,
        case when not s.has_term then i + 1 else s.days end as billed_high
    from spread s, lateral (select unnest(range(s.days)) as i)
    where not s.is_credit
    union all by name
    select s.*, s.usage_date as line_date, 0 as low, 0 as high, 0 as billed_low, s.days as billed_high
    from spread s
    where s.is_credit or (s.has_term and s.first_day > s.usage_date)
    union all by name
    select
        s.* exclude (usage_date, days), s.last_day as usage_date, s.usage_date as line_date, 0 as low, l.units as high,
        l.bought as days, 0 as billed_low, 0 as billed_high, true as is_left_over
    from spread s
    join left_over l on l.contract_id = s.contract_id
    where s.contract_kind = 'prepaid' and s.is_credit and l.units > 0
),
ours as (
    select
        d.*,
        b.provider,
        b.legal_entity,
        b.final_after_days,
        b.final_when,
        b.vector_index_column,
        not exists (select 1 from policy_billing_scope x where x.source = d.source)
            or exists (
                select 1 from policy_billing_scope x
                where x.source = d.source and x.column_name = 'sub_account_id' and d.sub_account_id glob x.value
            ) as in_scope
    from daily d
    join policy_billing b on b.source = d.source
    where d.usage_date >= $period_start and d.usage_date < $period_end and d.usage_date <= $as_of
        and case when d.has_term or d.is_credit then d.line_date else d.usage_date end >= b.record_from
        and case when d.has_term or d.is_credit then d.line_date else d.usage_date end < b.record_to
),
matched as (
    select
        o.source_file, o.source_row, o.usage_date, arg_min(a.activity, a.ord) as activity, arg_min_null(a.serving_pool, a.ord) as serving_pool,
        arg_min_null(a.cluster, a.ord) as cluster, arg_min_null(a.gpu_model, a.ord) as gpu_model,
        arg_min_null(a.capacity_type, a.ord) as capacity_type, arg_min_null(a.vector_index_id, a.ord) as vector_index_id
    from ours o
    join policy_activities a on a.source = o.source
        and (a.service is null or o.service glob a.service)
        and (a.sku_meter is null or o.sku_meter glob a.sku_meter)
        and (a.resource_id is null or o.resource_id glob a.resource_id)
        and (a.charge_description is null or o.charge_description glob a.charge_description)
        and (a.sub_account_id is null or o.sub_account_id glob a.sub_account_id)
    group by all
),
owners as (
    select
        o.source_file, o.source_row, o.usage_date,
        coalesce(max(k.team_id) filter (k.kind = 'provider_key'), max(k.team_id)) as owner
    from ours o
    join policy_belongs k on o.usage_date >= k.valid_from and o.usage_date < k.valid_to
        and ((k.kind = 'provider_project' and k.value = o.sub_account_id)
            or (k.kind = 'provider_key' and k.value = o.api_key_id))
    group by all
),
named as (
    select
        o.source,
        o.delivery_id,
        o.source_file,
        o.source_row,
        o.in_scope,
        o.provider,
        o.billing_account_id,
        o.sub_account_id,
        o.legal_entity,
        o.invoice_id,
        o.charge_category,
        o.charge_class,
        o.charge_description,
        o.service,
        o.sku_meter,
        coalesce(m.gpu_model, r.model, lower(o.model_as_logged)) as model,
        o.region,
        coalesce(m.capacity_type, lower(o.service_tier), 'standard') as service_tier,
        case o.charge_category
            when 'Tax' then 'tax'
            when 'Credit' then 'credit'
            when 'Adjustment' then 'adjustment'
            else coalesce(if(o.is_left_over, 'commitment_idle', null), m.activity, case
                when o.commitment_status = 'Unused' then 'commitment_idle'
                when o.contract_kind = 'training' then 'training'
                when contains(coalesce(r.model, lower(o.model_as_logged), ''), 'embed') then 'embedding'
                when o.model_as_logged is not null then 'inference'
                else 'other' end)
        end as activity,
        coalesce(m.vector_index_id, case o.vector_index_column
            when 'resource_id' then o.resource_id
            when 'sub_account_id' then o.sub_account_id end) as vector_index_id,
        m.serving_pool,
        m.cluster,
        w.owner,
        o.usage_date,
        o.charge_period_start,
        o.charge_period_end,
        o.billing_period,
        money(cut(pico(o.consumed_quantity), o.low, o.high, o.days)) as consumed_quantity,
        o.consumed_unit,
        money(cut(pico(coalesce(o.list_cost, o.contracted_cost, o.effective_cost)), o.low, o.high, o.days)) as list_cost,
        money(cut(pico(coalesce(o.contracted_cost, o.effective_cost)), o.low, o.high, o.days)) as contracted_cost,
        money(cut(pico(o.effective_cost), o.low, o.high, o.days)) as effective_cost,
        money(cut(pico(o.billed_cost), o.billed_low, o.billed_high, o.days)) as billed_cost,
        o.billing_currency,
        case when if(o.final_when = 'invoiced', (o.source, o.billing_account_id, o.billing_period) in (select (source, billing_account_id, billing_period) from invoiced), $as_of >= if(o.has_term or o.is_credit, o.line_date, o.usage_date) + o.final_after_days)
            then 'Final' else 'Estimated' end as estimate_status,
        o.contract_id
    from ours o
    left join matched m on m.source_file = o.source_file and m.source_row = o.source_row and m.usage_date = o.usage_date
    left join owners w on w.source_file = o.source_file and w.source_row = o.source_row and w.usage_date = o.usage_date
    left join model_names r on r.usage_period = $period and r.provider = o.provider and r.model_as_logged = o.model_as_logged
)
select
    key_of(list_concat([
        provider, billing_account_id, sub_account_id, legal_entity, charge_category, charge_class, service, sku_meter, model,
        region, service_tier, activity, vector_index_id, serving_pool, cluster, owner, usage_date::varchar, billing_period,
        billing_currency, consumed_unit, $period
    ], if(contract_id is null, [], [contract_id]))) as charge_id,
    *
from named

-- The lines of the newest bills, one row per line and day, with the charge each became.
-- Only the source of record of a day counts; lines of a source on other days are left out.
-- A recurring fee that covers several days is spread evenly over its days inside its billing period.
-- grain: source_file, source_row, usage_date
--   in_scope: false for a line of a shared bill that is not ours: counted, never charged
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
    select l.* exclude (source_file), a.source_file
    from landed_bills l
    join arrivals a on a.delivery_id = l.delivery_id
    left join newest_whole w on w.source = l.source and w.billing_account_id = l.billing_account_id
        and w.billing_period = l.billing_period
    left join newest_day d on d.source = l.source and d.billing_account_id = l.billing_account_id
        and d.billing_period = l.billing_period and d.usage_date = l.usage_date
    where a.seq >= coalesce(w.seq, 0) and a.seq >= coalesce(d.seq, 0)
),
spread as (
    select
        n.*,
        case when n.charge_frequency = 'Recurring' and n.charge_category in ('Usage', 'Purchase')
            then greatest(n.charge_period_start::date, n.billing_period_start) else n.usage_date end as first_day,
        case when n.charge_frequency = 'Recurring' and n.charge_category in ('Usage', 'Purchase')
            then greatest(date_diff('day', greatest(n.charge_period_start::date, n.billing_period_start),
                least((n.charge_period_end - interval 1 microsecond)::date + 1, n.billing_period_end)), 1)
            else 1 end as days
    from newest n
),
daily as (
    select s.* exclude (usage_date), (s.first_day + i::integer)::date as usage_date, i as day_index
    from spread s, lateral (select unnest(range(s.days)) as i)
),
ours as (
    select
        d.*,
        b.provider,
        b.legal_entity,
        b.final_after_days,
        b.vector_index_column,
        not exists (select 1 from policy_billing_scope x where x.source = d.source)
            or exists (
                select 1 from policy_billing_scope x
                where x.source = d.source and x.column_name = 'sub_account_id' and d.sub_account_id glob x.value
            ) as in_scope
    from daily d
    join policy_billing b on b.source = d.source
    where d.usage_date >= $period_start and d.usage_date < $period_end and d.usage_date <= $as_of
        and d.usage_date >= b.record_from and d.usage_date < b.record_to
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
            else coalesce(m.activity, case
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
        money(cut(pico(o.consumed_quantity), o.day_index, o.day_index + 1, o.days)) as consumed_quantity,
        o.consumed_unit,
        money(cut(pico(coalesce(o.list_cost, o.contracted_cost, o.effective_cost)), o.day_index, o.day_index + 1, o.days)) as list_cost,
        money(cut(pico(coalesce(o.contracted_cost, o.effective_cost)), o.day_index, o.day_index + 1, o.days)) as contracted_cost,
        money(cut(pico(o.effective_cost), o.day_index, o.day_index + 1, o.days)) as effective_cost,
        money(cut(pico(o.billed_cost), o.day_index, o.day_index + 1, o.days)) as billed_cost,
        o.billing_currency,
        case when $as_of >= o.usage_date + o.final_after_days then 'Final' else 'Estimated' end as estimate_status
    from ours o
    left join matched m on m.source_file = o.source_file and m.source_row = o.source_row and m.usage_date = o.usage_date
    left join owners w on w.source_file = o.source_file and w.source_row = o.source_row and w.usage_date = o.usage_date
    left join model_names r on r.usage_period = $period and r.provider = o.provider and r.model_as_logged = o.model_as_logged
)
select
    key_of([
        provider, billing_account_id, sub_account_id, legal_entity, charge_category, charge_class, service, sku_meter, model,
        region, service_tier, activity, vector_index_id, serving_pool, cluster, owner, usage_date::varchar, billing_period,
        billing_currency, consumed_unit, $period
    ]) as charge_id,
    *
from named

-- Which comparison each metered quantity joins: the finest that a bill offers, else one of its own.
-- Every metered token is in exactly one comparison, so nothing is compared twice.
-- grain: provider, billing_account_id, model, meter, service_tier, usage_date
with counted as (
    select distinct provider, billing_account_id, model, meter, service_tier, usage_date
    from usage_meters
    where usage_period = $period
),
offered as (
    select distinct comparison_id, grain_level
    from charge_comparisons
    where usage_period = $period and comparability = 'comparable'
),
candidates as (
    select
        c.*,
        unnest([
            {'ord': 1, 'model': model, 'meter': meter, 'variant': service_tier, 'day': usage_date},
            {'ord': 2, 'model': model, 'meter': meter, 'variant': null, 'day': usage_date},
            {'ord': 3, 'model': model, 'meter': null, 'variant': null, 'day': usage_date},
            {'ord': 4, 'model': null, 'meter': null, 'variant': null, 'day': usage_date},
            {'ord': 5, 'model': model, 'meter': meter, 'variant': null, 'day': null},
            {'ord': 6, 'model': model, 'meter': null, 'variant': null, 'day': null},
            {'ord': 7, 'model': null, 'meter': null, 'variant': null, 'day': null}
        ]) as as_billed
    from counted c
),
keyed as (
    select
        * exclude (as_billed), as_billed.ord as ord,
        key_of([provider, billing_account_id, as_billed.model, as_billed.meter, as_billed.variant, as_billed.day::varchar, $period]) as comparison_id
    from candidates
)
select
    k.provider, k.billing_account_id, k.model, k.meter, k.service_tier, k.usage_date,
    arg_min(k.comparison_id, if(o.comparison_id is null, 8, k.ord)) as comparison_id
from keyed k
left join offered o on o.comparison_id = k.comparison_id
where k.ord = 1 or o.comparison_id is not null
group by all

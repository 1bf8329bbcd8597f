-- Which comparison each charge for calls of models joins: the finest grain that its bill and the gateways have in common.
-- A dimension that one side lacks is dropped for both (NULL): the tier, the meter, the model, the day.
-- Charges that are not here are no calls of models: taxes, fees, storage, indexes, GPUs, what was bought ahead.
-- grain: charge_id
--   comparison_id: the comparison; a row of reconciliation
--   usage_date: NULL where the line covers several days, which are then compared as a month
--   comparability: comparable, other_unit (searches, seconds: nothing that a gateway counts), unmapped (tokens of a kind without a name of ours)
with token_meters as (
    select unnest(['input_uncached', 'cache_read', 'cache_write_5m', 'cache_write_1h', 'output', 'audio_input', 'audio_output']) as meter
),
counted as (
    select
        provider, billing_account_id, model, usage_date, list(distinct service_tier) as tiers
    from usage_meters
    where usage_period = $period
    group by all
),
counted_meters as (
    select distinct provider, billing_account_id, meter
    from usage_meters
    where usage_period = $period
),
counted_tiers as (
    select provider, billing_account_id, list(distinct service_tier) as tiers
    from usage_meters
    where usage_period = $period
    group by all
),
charges as (
    select
        c.charge_id, c.provider, c.billing_account_id, c.model, c.sku_meter, c.service_tier, c.usage_date, c.consumed_unit,
        t.meter is not null as is_known_meter,
        c.sku_meter is null or c.consumed_unit is null or c.consumed_unit = 'Tokens' as may_be_tokens,
        date_diff('day', c.charge_period_start, c.charge_period_end) > 1 as is_month,
        n.meter is null as is_uncounted_meter
    from origin_charges c
    left join token_meters t on t.meter = c.sku_meter
    left join counted_meters n on n.provider = c.provider and n.billing_account_id = c.billing_account_id and n.meter = c.sku_meter
    where c.usage_period = $period and c.origin = 'bill' and c.charge_category = 'Usage'
        and c.vector_index_id is null and c.cluster is null and c.contract_id is null
        and (c.model is not null or c.activity in ('inference', 'embedding'))
),
billed_tiers as (
    select provider, billing_account_id, list(distinct service_tier) as tiers
    from charges
    group by all
),
-- Of a model's day: whether a tier or a meter is named that only one side knows.
lacking as (
    select
        c.provider, c.billing_account_id, c.model, c.usage_date,
        bool_or(not list_contains(k.tiers, c.service_tier)) or bool_or(not list_has_all(b.tiers, u.tiers)) as lacks_tier,
        bool_or(u.model is not null) as is_used,
        bool_or(c.is_known_meter and c.is_uncounted_meter) and bool_or(u.model is not null) as lacks_meter
    from charges c
    join billed_tiers b on b.provider = c.provider and b.billing_account_id = c.billing_account_id
    left join counted_tiers k on k.provider = c.provider and k.billing_account_id = c.billing_account_id
    left join counted u on u.provider = c.provider and u.billing_account_id = c.billing_account_id and u.model = c.model
        and u.usage_date = c.usage_date
    group by all
),
by_meter as (
    select provider, billing_account_id, model, bool_or(is_known_meter) as names_meters
    from charges
    group by all
),
judged as (
    select
        c.*,
        case
            when c.model is null or c.is_known_meter then 'comparable'
            when not c.may_be_tokens and b.names_meters and l.is_used then 'other_unit'
            when c.may_be_tokens and b.names_meters then 'unmapped'
            else 'comparable'
        end as comparability,
        c.model is not null and c.is_known_meter and not l.lacks_meter as by_meter,
        c.model is not null and c.is_known_meter and not l.lacks_meter and not coalesce(l.lacks_tier, false) and not c.is_month as by_tier
    from charges c
    join lacking l on l.provider = c.provider and l.billing_account_id = c.billing_account_id
        and l.model is not distinct from c.model and l.usage_date = c.usage_date
    join by_meter b on b.provider = c.provider and b.billing_account_id = c.billing_account_id and b.model is not distinct from c.model
),
keyed as (
    select
        charge_id, provider, billing_account_id, model, comparability,
        case when comparability <> 'comparable' or by_meter then sku_meter end as meter,
        case when comparability <> 'comparable' or by_tier then service_tier end as variant,
        case when not is_month or comparability <> 'comparable' then usage_date end as usage_date,
        case
            when comparability <> 'comparable' then 'none'
            when by_tier then 'meter and tier'
            else case when by_meter then 'meter' when model is not null then 'model' else 'account' end
                || case when is_month then '-month' when model is null then '-day' else '' end
        end as grain_level
    from judged
)
select
    charge_id,
    key_of([provider, billing_account_id, model, meter, variant, usage_date::varchar, $period]) as comparison_id,
    provider, billing_account_id, model, meter, variant, usage_date, grain_level, comparability
from keyed

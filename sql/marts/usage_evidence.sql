-- What the vendors report against what the gateways metered, per account, day, model and meter: evidence beside the bills.
-- Only days that a report speaks about are here, and of the metered calls only those of the kind that the report counts.
-- grain: provider, billing_account_id, usage_date, model, meter
--   model: NULL where the report is not grouped by model; all models of the meter are compared together
--   metered_quantity: what the gateways counted; NULL where they do not count this meter
--   difference: provider_quantity less metered_quantity
--   state: matched, variance, unmetered (reported, not metered), unreported (metered, not reported), not_comparable (we have no such meter)
with operations(report, operation) as (
    -- A report that is not named here counts every call.
    values ('completions', 'chat'), ('completions', 'completion'), ('embeddings', 'embedding'), ('images', 'image'),
        ('audio_speeches', 'audio'), ('audio_transcriptions', 'audio'), ('moderations', 'moderation'),
        ('vector_stores', ''), ('code_interpreter_sessions', ''), ('file_search_calls', ''), ('web_search_calls', '')
),
reported as (
    select
        provider, billing_account_id, usage_date,
        case when not bool_or(model is null) over (partition by provider, billing_account_id, usage_date, meter) then model end as model,
        meter, quantity
    from provider_usage
),
provided as (
    select provider, billing_account_id, usage_date, model, meter, sum(quantity)::decimal(38, 12) as quantity
    from reported
    group by all
),
-- How each meter of an account-day is compared: without its model, and as part of an undivided input, where the report says no more.
grain as (
    select provider, billing_account_id, usage_date, meter, bool_and(model is null) as without_model
    from provided
    group by all
),
calls as (
    select u.*, coalesce(u.billing_account_id, u.provider) as account
    from usage_daily u
    where u.serving_pool is null and u.gateway_cache = 'none' and exists (
        select 1
        from reported_days d
        where d.provider = u.provider and d.billing_account_id = coalesce(u.billing_account_id, u.provider)
            and d.usage_date = u.provider_day
            and (d.report not in (select report from operations)
                or (d.report, u.operation) in (select (report, operation) from operations)))
),
counted as (
    select
        provider, account as billing_account_id, provider_day as usage_date, model,
        unnest([
            {'meter': 'input_uncached', 'quantity': input_uncached_tokens},
            {'meter': 'cache_read', 'quantity': cache_read_tokens},
            {'meter': 'cache_write_5m', 'quantity': cache_write_5m_tokens},
            {'meter': 'cache_write_1h', 'quantity': cache_write_1h_tokens},
            {'meter': 'output', 'quantity': output_tokens + reasoning_tokens},
            {'meter': 'audio_input', 'quantity': audio_input_tokens},
            {'meter': 'audio_output', 'quantity': audio_output_tokens},
            {'meter': 'images', 'quantity': images},
            {'meter': 'requests', 'quantity': requests}
        ]) as m
    from calls
),
-- Requests are compared where the vendor counts them; a meter within an undivided input is that input.
metered as (
    select
        c.provider, c.billing_account_id, c.usage_date,
        case when g.without_model then null else c.model end as model,
        coalesce(i.meter, c.m.meter) as meter,
        sum(c.m.quantity)::decimal(38, 12) as quantity
    from counted c
    left join grain i on i.provider = c.provider and i.billing_account_id = c.billing_account_id and i.usage_date = c.usage_date
        and i.meter = 'input' and c.m.meter in ('input_uncached', 'cache_read', 'cache_write_5m', 'cache_write_1h')
    left join grain g on g.provider = c.provider and g.billing_account_id = c.billing_account_id and g.usage_date = c.usage_date
        and g.meter = coalesce(i.meter, c.m.meter)
    where c.m.quantity > 0 and (c.m.meter <> 'requests' or g.meter is not null)
    group by all
),
compared as (
    select
        coalesce(p.provider, m.provider) as provider,
        coalesce(p.billing_account_id, m.billing_account_id) as billing_account_id,
        coalesce(p.usage_date, m.usage_date) as usage_date,
        coalesce(p.model, m.model) as model,
        coalesce(p.meter, m.meter) as meter,
        p.quantity as provider_quantity,
        m.quantity as metered_quantity
    from provided p
    full join metered m on m.provider = p.provider and m.billing_account_id = p.billing_account_id and m.usage_date = p.usage_date
        and m.model is not distinct from p.model and m.meter = p.meter
)
select
    p.period,
    provider,
    billing_account_id,
    usage_date,
    model,
    meter,
    provider_quantity,
    metered_quantity,
    (coalesce(provider_quantity, 0) - coalesce(metered_quantity, 0))::decimal(38, 12) as difference,
    case
        when provider_quantity is null then 'unreported'
        when metered_quantity is null and meter not in (
            'input', 'input_uncached', 'cache_read', 'cache_write_5m', 'cache_write_1h', 'output', 'audio_input', 'audio_output',
            'images', 'requests') then 'not_comparable'
        when metered_quantity is null then 'unmetered'
        when abs(provider_quantity - metered_quantity) <= greatest(
            if(meter in ('images', 'requests'), 0, 1000), provider_quantity * 0.005::decimal(4, 3)) then 'matched'
        else 'variance'
    end as state
from compared c
join periods p on c.usage_date >= p.starts_on and c.usage_date < p.ends_on

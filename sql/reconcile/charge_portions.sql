-- Every charge cut into named portions; the portions of a charge add up to it in every cost column.
-- metered: seen by a gateway. unused: what its use left of a commitment. excess: billed, but beyond what the gateways saw. used: GPUs that worked, of jobs and of each of our
-- own model servers. unattributed: what a model server did and no gateway logged. idle_reserved: GPUs held that did not work.
-- idle_stranded: the rest of cards of which slices were held. idle_unallocated: GPUs that nobody held. whole: everything else.
-- grain: charge_id, portion
--   portion: its name; where several model servers share a charge, the name and the server
--   gpu_use: of a cluster's charge, the portion's name alone, so that a rule finds the portions of every server
--   allocated_ratio: the portion's part of its charge, one over all portions
with compared as (
    select
        k.charge_id,
        r.state,
        pico(r.billed_cost) as billed,
        case when r.state in ('timing', 'not_comparable') then pico(r.billed_cost)
            else least(pico(r.billed_cost), pico((r.metered_cost * b.true_up_bound)::decimal(38, 12))) end as within
    from charge_comparisons k
    join reconciliation r on r.usage_period = $period and r.comparison_id = k.comparison_id
    cross join policy_close b
    where k.usage_period = $period
),
tokens as (
    select
        charge_id,
        case when state in ('unmetered', 'unmapped') then 0 when billed <= 0 then 1 else greatest(within, 0) // 1000000 end::hugeint as metered,
        case when state in ('unmetered', 'unmapped') then 1 when billed <= 0 then 0
            else billed // 1000000 - greatest(within, 0) // 1000000 end::hugeint as excess
    from compared
),
-- Of a model server's day: tokens by weight that a gateway logged, and those that only the server counted.
served as (
    select usage_date, serving_pool, sum(weighted_tokens) as logged
    from serving_tokens
    where usage_period = $period
    group by all
),
uncounted as (
    select usage_date, serving_pool, sum(unattributed_weighted_tokens) as gap
    from serving_coverage
    where usage_period = $period
    group by all
),
gpus as (
    select
        c.charge_id, c.usage_date, c.activity, g.use,
        case when g.use in ('used', 'idle_reserved') then coalesce(c.serving_pool, g.serving_pool) else c.serving_pool end as serving_pool,
        sum(g.weight)::hugeint as weight
    from charge_gpu g
    join origin_charges c on c.usage_period = $period and c.charge_id = g.charge_id
    where g.usage_period = $period
    group by all
),
contracted as (
    select charge_id, used, total from contract_use where usage_period = $period
),
answered as (
    select
        g.*,
        case when g.use = 'used' and u.gap > 0
            then g.weight - g.weight * (u.gap * 1000000)::hugeint // ((u.gap + coalesce(s.logged, 0)) * 1000000)::hugeint
            else g.weight end as attributed
    from gpus g
    left join uncounted u on u.serving_pool = g.serving_pool and u.usage_date = g.usage_date
    left join served s on s.serving_pool = g.serving_pool and s.usage_date = g.usage_date
),
pieces as (
    select charge_id, 1 as ord, 'metered' as portion, null as serving_pool, null as activity, metered as weight from tokens
    union all by name
    select charge_id, 2 as ord, 'excess' as portion, excess as weight from tokens
    union all by name
    select charge_id, 1 as ord, 'metered' as portion, used as weight from contracted
    union all by name
    select charge_id, 2 as ord, 'unused' as portion, 'commitment_idle' as activity, total - used as weight from contracted
    union all by name
    select
        charge_id,
        case use when 'used' then 1 when 'idle_reserved' then 3 when 'idle_stranded' then 4 else 5 end as ord,
        use as portion, serving_pool,
        case when use <> 'used' then 'gpu_idle' when serving_pool is not null then 'inference' else activity end as activity,
        attributed as weight
    from answered
    union all by name
    select charge_id, 2 as ord, 'unattributed' as portion, serving_pool, 'inference' as activity, weight - attributed as weight
    from answered
    where attributed < weight
),
-- Where nothing says how a charge was used, it stays whole under the name of its kind.
whole as (
    select
        charge_id,
        case when cluster is not null and activity in ('training', 'inference') then 'used'
            when origin = 'accrual' then 'metered' else 'whole' end as portion,
        serving_pool, 1::hugeint as weight
    from origin_charges
    where usage_period = $period and charge_id not in (select charge_id from pieces where weight > 0)
),
cuts as (
    select
        *,
        (sum(weight) over (partition by charge_id order by ord, portion, serving_pool nulls first rows unbounded preceding) - weight)::hugeint as low,
        sum(weight) over (partition by charge_id order by ord, portion, serving_pool nulls first rows unbounded preceding)::hugeint as high,
        sum(weight) over (partition by charge_id)::hugeint as total,
        count(*) over (partition by charge_id, portion) as namesakes
    from (
        select * from pieces where weight > 0
        union all by name
        select * from whole
    )
)
select
    c.charge_id,
    case when p.namesakes > 1 and p.serving_pool is not null then p.portion || ' by ' || p.serving_pool else p.portion end as portion,
    c.usage_date, c.provider, c.billing_account_id, c.sub_account_id, c.legal_entity, c.charge_category, c.charge_class, c.service,
    c.sku_meter, c.model, c.region, c.service_tier,
    coalesce(p.activity, c.activity) as activity,
    c.vector_index_id,
    coalesce(p.serving_pool, c.serving_pool) as serving_pool,
    case when c.cluster is not null then p.portion end as gpu_use,
    c.cluster, c.contract_id, c.owner, c.origin, c.consumed_unit, c.billing_currency, c.estimate_status,
    money(cut(pico(c.effective_cost), p.low, p.high, p.total)) as effective_cost,
    money(cut(pico(c.list_cost), p.low, p.high, p.total)) as list_cost,
    money(cut(pico(c.contracted_cost), p.low, p.high, p.total)) as contracted_cost,
    money(cut(pico(c.billed_cost), p.low, p.high, p.total)) as billed_cost,
    money(cut(pico(coalesce(c.consumed_quantity, 0)), p.low, p.high, p.total)) as consumed_quantity,
    money(cut(pico(1), p.low, p.high, p.total)) as allocated_ratio
from cuts p
join origin_charges c on c.usage_period = $period and c.charge_id = p.charge_id

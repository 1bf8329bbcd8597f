-- Who carries what of each charge of one usage period; for every charge the rows add up to it in every cost column.
-- grain: charge_id, portion, part, stage, rule_id, team_id, project_id, application, environment, activity
with shared as (
    select
        a.charge_id, a.portion, a.part, a.target as team_id, a.project_id, a.application, a.environment,
        coalesce(a.activity, p.activity) as activity,
        a.cost_pool, a.rule_id, a.method, a.stage, a.driver, a.driver_quantity, a.driver_total, a.fallback_level,
        a.split_by, a.allocated_ratio, a.consumed_quantity, a.list_cost, a.contracted_cost, a.effective_cost, a.billed_cost,
        case when v.charge_id is null then a.effective_cost else 0 end as chargeback_cost,
        case when a.driver = 'metered_cost' then a.driver_quantity end as metered_cost,
        a.reason
    from allocations a
    join charge_portions p on p.usage_period = $period and p.charge_id = a.charge_id and p.portion = a.portion
    left join covered_portions v on v.usage_period = $period and v.charge_id = a.charge_id and v.portion = a.portion
),
-- What the rate card covers is bought by the platform at cost (`part` is the service) ...
recovered as (
    select
        v.charge_id, 'recovery' as portion, v.service as part, b.platform_team as team_id, 'recovery' as activity,
        'rate card' as cost_pool, 'rate-card' as rule_id, 'to' as method, 0 as fallback_level,
        sum(v.effective_cost)::decimal(38, 12) as chargeback_cost
    from covered_portions v
    cross join policy_company b
    where v.usage_period = $period
    group by all
),
-- ... and sold at the rate.
sold as (
    select
        charge_id, 'metered' as portion, '' as part, team_id, project_id, application, environment, activity,
        'rate card' as cost_pool, line_id as rule_id, 'rate' as method, 0 as fallback_level, meter as driver,
        consumed_quantity as driver_quantity, consumed_quantity, amount as chargeback_cost,
        money(cut(1000000000000, (sum(millionths) over so_far - millionths)::hugeint, (sum(millionths) over so_far)::hugeint,
            (sum(millionths) over (partition by charge_id))::hugeint)) as allocated_ratio,
        case when team_id = 'unallocated' then 'used by somebody whose team is not known' end as reason
    from tariffs
    where usage_period = $period
    window so_far as (
        partition by charge_id order by project_id, application, environment, activity rows unbounded preceding)
    union all by name
    select
        t.charge_id, 'recovery' as portion, t.service as part, b.platform_team as team_id, 'recovery' as activity,
        'rate card' as cost_pool, t.line_id as rule_id, 'rate' as method, 0 as fallback_level, t.meter as driver,
        -sum(t.amount)::decimal(38, 12) as chargeback_cost
    from tariffs t
    cross join policy_company b
    where t.usage_period = $period
    group by all
),
everything as (
    select * from shared
    union all by name
    select * from recovered
    union all by name
    select * from sold
)
select
    key_of([e.charge_id, e.portion, e.part, e.stage::varchar, e.rule_id, e.driver, e.team_id, e.project_id, e.application, e.environment, e.activity]) as ledger_id,
    c.usage_date,
    e.charge_id,
    e.portion,
    e.part,
    e.team_id,
    t.cost_center,
    coalesce(t.legal_entity, c.legal_entity) as legal_entity,
    e.project_id,
    e.application,
    e.environment,
    c.service,
    c.model,
    e.activity,
    e.cost_pool,
    e.rule_id,
    e.method,
    coalesce(e.stage, 0)::integer as stage,
    e.driver,
    e.driver_quantity::decimal(38, 12) as driver_quantity,
    e.driver_total::decimal(38, 12) as driver_total,
    case
        when e.driver_quantity is null then null
        when e.method = 'rate' then c.consumed_unit
        when e.method = 'even' then 'Owners'
        when d.driver is not null then coalesce(d.unit, c.billing_currency) end as driver_unit,
    e.fallback_level::integer as fallback_level,
    e.split_by,
    coalesce(e.allocated_ratio, 0)::decimal(38, 12) as allocated_ratio,
    coalesce(e.consumed_quantity, 0)::decimal(38, 12) as consumed_quantity,
    c.consumed_unit,
    coalesce(e.list_cost, 0)::decimal(38, 12) as list_cost,
    coalesce(e.contracted_cost, 0)::decimal(38, 12) as contracted_cost,
    coalesce(e.effective_cost, 0)::decimal(38, 12) as effective_cost,
    coalesce(e.billed_cost, 0)::decimal(38, 12) as billed_cost,
    coalesce(e.chargeback_cost, 0)::decimal(38, 12) as chargeback_cost,
    e.metered_cost::decimal(38, 12) as metered_cost,
    c.billing_currency,
    c.estimate_status,
    e.reason
from everything e
join period_charges c on c.usage_period = $period and c.charge_id = e.charge_id
left join driver_units d on d.driver = e.driver
left join policy_team_cost_centers t on t.team_id = e.team_id
    and c.usage_date >= t.valid_from and c.usage_date < t.valid_to

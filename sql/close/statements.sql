-- One row per team, cost center and version of a period: the head and the totals of a statement.
-- While a month is reopened the version it was closed with stays FINAL beside the DRAFT of the next one.
-- grain: period, version, team_id, cost_center
--   dispute_until: last day on which its lines can be disputed; NULL on a draft, which can be until its month is closed
with totals as (
    select
        period, version, team_id, cost_center, legal_entity, mode, currency,
        coalesce(sum(amount) filter (category = 'direct'), 0)::decimal(18, 2) as direct_amount,
        coalesce(sum(amount) filter (category = 'shared'), 0)::decimal(18, 2) as shared_amount,
        coalesce(sum(amount) filter (category = 'adjustment'), 0)::decimal(18, 2) as adjustment_amount,
        coalesce(sum(amount) filter (category = 'recovery'), 0)::decimal(18, 2) as recovery_amount,
        sum(amount)::decimal(18, 2) as total_amount
    from statement_lines
    group by all
),
versions as (
    select distinct period, version from totals
),
-- A version is the rows that were booked by then.
hashed as (
    select
        v.period, v.version, l.team_id, l.cost_center,
        sha256(string_agg(l.ledger_id || ' ' || l.chargeback_cost::varchar, chr(10) order by l.ledger_id)) as ledger_hash
    from versions v
    join ledger l on l.period = v.period and (v.version = 0 or l.since_version between 1 and v.version)
    group by all
)
select
    t.period,
    t.version,
    t.team_id,
    coalesce(m.name, case t.team_id when 'unallocated' then 'Unallocated' else t.team_id end) as team_name,
    t.cost_center,
    c.name as cost_center_name,
    t.legal_entity,
    e.name as legal_entity_name,
    t.mode,
    t.currency,
    case when t.version = 0 then 'DRAFT'
        when t.version = max(t.version) over (partition by t.period) then 'FINAL'
        else 'SUPERSEDED' end as state,
    concat_ws('-', 'APN', t.period, t.team_id, t.cost_center, case when t.version = 0 then 'draft' else 'v' || t.version end) as statement_id,
    t.direct_amount,
    t.shared_amount,
    t.adjustment_amount,
    t.recovery_amount,
    t.total_amount,
    coalesce(w.total_amount, 0)::decimal(18, 2) as prior_amount,
    coalesce(v.closed_on, $through::date) as issued_on,
    v.dispute_until,
    h.ledger_hash
from totals t
join periods p on p.period = t.period
left join closed_versions v on v.period = t.period and v.version = t.version
left join policy_teams m on m.team_id = t.team_id
left join policy_cost_centers c on c.cost_center = t.cost_center
left join policy_legal_entities e on e.legal_entity = t.legal_entity
left join hashed h on h.period = t.period and h.version = t.version and h.team_id = t.team_id and h.cost_center is not distinct from t.cost_center
left join periods n on n.ends_on = p.starts_on
left join (
    select period, team_id, cost_center, arg_max(total_amount, version) as total_amount from totals group by all
) w on w.period = n.period and w.team_id = t.team_id and w.cost_center is not distinct from t.cost_center

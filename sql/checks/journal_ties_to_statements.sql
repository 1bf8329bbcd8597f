-- In cents, what the journals of a month have posted with a version is what its statements of teams on chargeback say, per cost
-- center; and what the buyers recover is what the consumers are charged. A version that was closed before there were journals
-- counts as posted by hand, as its statements say. severity: fail
with stated as (
    select period, version, team_id, cost_center, legal_entity, currency, sum(amount) as amount
    from statement_lines
    where mode = 'chargeback'
    group by all
),
versions as (
    select distinct s.period, s.version
    from stated s
    anti join versions_without_journal w on w.period = s.period and w.version = s.version
),
by_hand as (
    select s.*
    from stated s
    join (select period, max(version) as version from versions_without_journal group by all) w on w.period = s.period and w.version = s.version
),
posts as (
    select v.period, v.version, j.team_id, j.cost_center, j.legal_entity, j.currency, j.debit - j.credit as amount
    from versions v
    join journal_lines j on j.period = v.period and (j.version = v.version or (j.version > 0 and (v.version = 0 or j.version < v.version)))
    where j.role = 'expense' and j.kind not in ('accrual', 'reversal')
    union all
    select v.period, v.version, h.team_id, h.cost_center, h.legal_entity, h.currency, h.amount
    from versions v
    join by_hand h on h.period = v.period and (v.version = 0 or h.version < v.version)
),
posted as (
    select period, version, team_id, cost_center, legal_entity, currency, sum(amount) as amount from posts group by all
),
recoveries as (
    select v.period, v.version, j.currency, j.credit - j.debit as amount
    from versions v
    join journal_lines j on j.period = v.period and (j.version = v.version or (j.version > 0 and (v.version = 0 or j.version < v.version)))
    where j.role = 'recovery'
    union all
    select v.period, v.version, h.currency, h.amount
    from versions v
    join by_hand h on h.period = v.period and (v.version = 0 or h.version < v.version)
),
recovered as (
    select period, version, currency, sum(amount) as amount from recoveries group by all
),
charged as (
    select period, version, currency, sum(amount) as amount from stated group by all
)
select
    coalesce(s.period, p.period) as period, coalesce(s.version, p.version) as version, coalesce(s.team_id, p.team_id) as team_id,
    s.amount as stated, p.amount as posted
from (select s.* from stated s join versions v on v.period = s.period and v.version = s.version) s
full join posted p on p.period = s.period and p.version = s.version and p.team_id = s.team_id
    and p.cost_center is not distinct from s.cost_center and p.legal_entity = s.legal_entity and p.currency = s.currency
where coalesce(s.amount, 0) <> coalesce(p.amount, 0)
union all
select c.period, c.version, 'all teams', c.amount, r.amount
from charged c
join versions v on v.period = c.period and v.version = c.version
left join recovered r on r.period = c.period and r.version = c.version and r.currency = c.currency
where c.amount <> coalesce(r.amount, 0)

-- In cents, what the journals of a month have posted with a version is what its statements of teams on chargeback say, per cost
-- center; and what the buyers recover is what the consumers are charged. severity: fail
with stated as (
    select period, version, team_id, cost_center, legal_entity, currency, sum(amount) as amount
    from statement_lines
    where mode = 'chargeback'
    group by all
),
versions as (
    select distinct period, version from stated
),
posted as (
    select v.period, v.version, j.team_id, j.cost_center, j.legal_entity, j.currency, sum(j.debit - j.credit) as amount
    from versions v
    join journal_lines j on j.period = v.period and (j.version = v.version or (j.version > 0 and (v.version = 0 or j.version < v.version)))
    where j.role = 'expense' and j.kind not in ('accrual', 'reversal')
    group by all
),
recovered as (
    select v.period, v.version, j.currency, sum(j.credit - j.debit) as amount
    from versions v
    join journal_lines j on j.period = v.period and (j.version = v.version or (j.version > 0 and (v.version = 0 or j.version < v.version)))
    where j.role = 'recovery'
    group by all
),
charged as (
    select period, version, currency, sum(amount) as amount from stated group by all
)
select
    coalesce(s.period, p.period) as period, coalesce(s.version, p.version) as version, coalesce(s.team_id, p.team_id) as team_id,
    s.amount as stated, p.amount as posted
from stated s
full join posted p on p.period = s.period and p.version = s.version and p.team_id = s.team_id
    and p.cost_center is not distinct from s.cost_center and p.legal_entity = s.legal_entity and p.currency = s.currency
where coalesce(s.amount, 0) <> coalesce(p.amount, 0)
union all
select c.period, c.version, 'all teams', c.amount, r.amount
from charged c
left join recovered r on r.period = c.period and r.version = c.version and r.currency = c.currency
where c.amount <> coalesce(r.amount, 0)

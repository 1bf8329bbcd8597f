-- Every statement line is within one cent, per version, of the ledger rows that name it. severity: fail
with versions as (
    select distinct s.period, s.version, case when s.version = 0 then p.version + 1 else s.version end as roundings
    from statement_lines s
    join periods p on p.period = s.period
),
rows as (
    select v.period, v.version, l.line_id, sum(l.chargeback_cost * case when l.billing_currency = b.currency then 1 else f.rate end) as exact
    from versions v
    join ledger l on l.period = v.period and (v.version = 0 or l.since_version between 1 and v.version)
    cross join policy_company b
    left join exchange_rates f on f.period = l.original_period and f.currency = l.billing_currency
    group by all
)
select v.period, v.version, n.team_id, n.line_no, n.amount, r.exact
from statement_lines n
full join rows r on r.period = n.period and r.version = n.version and r.line_id = n.line_id
join versions v on v.period = coalesce(n.period, r.period) and v.version = coalesce(n.version, r.version)
where abs(coalesce(n.amount, 0) - coalesce(r.exact, 0)) >= 0.01 * v.roundings

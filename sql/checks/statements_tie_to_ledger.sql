-- Statement lines of a period, version and legal entity add up to the ledger's sum, rounded once per version. severity: fail
with lines as (
    select period, version, legal_entity, sum(amount) as amount
    from statement_lines
    group by all
),
versions as (
    select distinct s.period, s.version, case when s.version = 0 then p.version + 1 else s.version end as roundings
    from statement_lines s
    join periods p on p.period = s.period
),
books as (
    select v.period, v.version, l.legal_entity, sum(l.chargeback_cost * case when l.billing_currency = b.currency then 1 else f.rate end) as exact
    from versions v
    join ledger l on l.period = v.period and (v.version = 0 or l.since_version between 1 and v.version)
    cross join policy_company b
    left join exchange_rates f on f.period = l.original_period and f.currency = l.billing_currency
    group by all
)
select v.period, v.version, coalesce(n.legal_entity, b.legal_entity) as legal_entity, n.amount as statements, b.exact as ledger
from lines n
full join books b on b.period = n.period and b.version = n.version and b.legal_entity = n.legal_entity
join versions v on v.period = coalesce(n.period, b.period) and v.version = coalesce(n.version, b.version)
where abs(coalesce(n.amount, 0) - coalesce(b.exact, 0)) > 0.005001 * v.roundings

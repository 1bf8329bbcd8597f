-- Statement lines of a period, legal entity and currency add up to the ledger's sum, rounded once. severity: fail
with lines as (
    select period, version, legal_entity, currency, max(fx_rate) as fx_rate, sum(amount) as amount
    from statement_lines
    group by all
),
books as (
    select l.period, l.version, l.legal_entity, b.currency, sum(l.chargeback_cost) as exact
    from ledger l
    cross join policy_company b
    where l.billing_currency = b.currency
    group by all
)
select coalesce(n.period, b.period) as period, coalesce(n.legal_entity, b.legal_entity) as legal_entity, n.amount as statements, b.exact as ledger
from lines n
full join books b on b.period = n.period and b.version = n.version and b.legal_entity = n.legal_entity and b.currency = n.currency
where abs(coalesce(n.amount, 0) - coalesce(b.exact, 0)) > 0.005
    and not exists (select 1 from ledger x cross join policy_company c where x.period = coalesce(n.period, b.period) and x.billing_currency <> c.currency)

-- Every statement line is within one cent of the ledger rows that name it. severity: fail
with rows as (
    select period, version, line_id, sum(chargeback_cost) as exact from ledger group by all
)
select coalesce(n.period, r.period) as period, n.team_id, n.line_no, n.amount, r.exact
from statement_lines n
full join rows r on r.period = n.period and r.version = n.version and r.line_id = n.line_id
where coalesce(n.fx_rate, 1) = 1 and abs(coalesce(n.amount, 0) - coalesce(r.exact, 0)) >= 0.01

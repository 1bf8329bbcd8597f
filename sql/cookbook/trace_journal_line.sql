-- Which charges, rules and rows of the bills are behind a line of the journal? Here: the largest expense that was posted last.
with posted as (
    select *
    from journal_lines
    where role = 'expense' and kind not in ('accrual', 'reversal')
    order by version > 0 desc, period desc, version desc, debit desc, je_id, line_no
    limit 1
),
rows_of_bills as (
    select charge_id, min(source_file) as source_file, min(source_row) as first_row, count(*) as source_rows from bill_lines group by all
),
behind as (
    select p.je_id, p.line_no, p.gl_account, p.debit - p.credit as posted, l.rule_id, l.charge_id, sum(l.chargeback_cost)::decimal(38, 12) as charged
    from posted p
    join ledger l on l.period = p.period and l.team_id = p.team_id and l.cost_center is not distinct from p.cost_center and l.activity = p.activity
    group by all
)
select b.je_id, b.line_no, b.gl_account, b.posted, b.charged, b.rule_id, c.usage_date, b.charge_id, r.source_file, r.first_row, r.source_rows
from behind b
join posted p on p.je_id = b.je_id
join charges c on c.charge_id = b.charge_id and c.legal_entity = coalesce(p.partner_entity, p.legal_entity)
left join rows_of_bills r on r.charge_id = coalesce(c.corrects_charge_id, c.charge_id)
order by b.charged desc, b.charge_id, b.rule_id
limit 100;

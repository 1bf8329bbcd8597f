-- No account is billed for the same day by two sources: say in sources.yaml, with dates, which one is of record. severity: fail
select usage_period as period, billing_account_id, usage_date, string_agg(distinct source, ', ' order by source) as sources
from bill_lines
where in_scope
group by all
having count(distinct source) > 1
order by all

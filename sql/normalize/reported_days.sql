-- Account-days that a vendor's usage report speaks about, also where nothing was used.
-- grain: report, provider, billing_account_id, usage_date
select distinct c.report, p.provider, c.billing_account_id, c.usage_date
from usage_coverage c
join policy_usage p on p.source = c.source
where c.usage_date >= $period_start and c.usage_date < $period_end and c.usage_date <= $as_of

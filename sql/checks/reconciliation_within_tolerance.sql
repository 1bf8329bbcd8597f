-- What an account bills for calls differs from what was metered by no more than close.yaml lets pass. severity: close
with differing as (
    select
        r.usage_period as period, p.starts_on, r.provider, r.billing_account_id,
        sum(case
            when r.state in ('unmetered', 'unmapped') then abs(r.billed_cost)
            when r.state in ('variance_price', 'variance_quantity', 'variance_cost') then abs(r.billed_cost - r.metered_cost)
            else 0 end)::decimal(38, 12) as unexplained,
        sum(abs(r.billed_cost))::decimal(38, 12) as billed
    from reconciliation r
    join periods p on p.period = r.usage_period and p.state <> 'closed'
    where r.billed_cost is not null and r.state not in ('non_usage', 'out_of_scope') and ($only_period is null or r.usage_period = $only_period)
    group by all
),
tolerated as (
    select d.*, t.close_percent as tolerance_percent
    from differing d
    join policy_tolerances t on (t.provider is null or t.provider = d.provider)
        and d.starts_on >= t.valid_from and d.starts_on < t.valid_to
    qualify t.ord = min(t.ord) over (partition by d.period, d.provider, d.billing_account_id)
)
select period, provider, billing_account_id, unexplained, billed, tolerance_percent
from tolerated
where unexplained * 100 > billed * tolerance_percent

-- What each contract of contracts.yaml cost in a month beside what was billed for it, and what of it was used.
-- grain: period, contract_id, billing_currency
--   effective_cost: what the month carries; until the bill names a minimum or a fee, what is accrued for it
--   used_cost: the part that metered use took; NULL where the contract covers no use
--   unused_cost: bought ahead and left over
with covering as (
    select distinct contract_id from policy_contract_covers
)
select
    p.usage_period as period, p.contract_id, p.provider, p.billing_currency,
    sum(p.billed_cost)::decimal(38, 12) as billed_cost,
    sum(p.effective_cost)::decimal(38, 12) as effective_cost,
    sum(case when c.contract_id is null then null when p.portion = 'metered' then p.effective_cost else 0 end)::decimal(38, 12) as used_cost,
    sum(case when p.activity = 'commitment_idle' then p.effective_cost else 0 end)::decimal(38, 12) as unused_cost
from charge_portions p
left join covering c on c.contract_id = p.contract_id
where p.contract_id is not null
group by all

-- What was bought ahead, how much of it was used, and how much of the cost that it could cover it did cover, by month. At our prices, in the currency of its bill.
-- Contracts that cover the same models share their eligible cost: ratios of contracts are not added up.
-- grain: period, contract_id, provider, kind, currency
--   contract_id: of contracts.yaml; NULL for commitments that only the vendor's bill tells of
--   kind: commitment, throughput (provisioned units), prepaid (credit), or on_the_bill (the vendor says what was left unused, not what was used)
--   currency: of the row's amounts
--   committed_cost: what the month carries of it; of prepaid credit all that was bought so far
--   used_cost: what use took of it, of prepaid credit all that was drawn so far; NULL where it covers no use, or nobody says
--   unused_cost: what was left over; of prepaid credit what is lost once it ended
--   utilization_percent: used_cost of committed_cost; NULL where nothing was bought or it covers no use
--   eligible_cost: what use that it could cover costs at our prices, on the days that it holds, of prepaid credit as billed; NULL where any of it has no price
--   covered_cost: the part of it that nobody has to pay beside it; of provisioned units all that the bill does not charge by itself
--   on_demand_cost: the rest
--   coverage_percent: covered_cost of eligible_cost; NULL where nothing was eligible, or its price is not known
with portions as (
    select usage_period as period, * exclude (usage_period) from charge_portions where usage_date <= $through
),
agreed as (
    select
        contract_id, provider, billing_account_id, min(kind) filter (kind <> 'drawn') as kind, bool_or(kind = 'drawn') as is_named,
        min(valid_from) as valid_from, max(valid_to) as valid_to
    from policy_contracts
    group by all
),
-- Commitments and provisioned units, day by day.
bought as (
    select
        p.period, p.usage_date, a.contract_id, a.kind, a.provider, a.billing_account_id, p.billing_currency as currency,
        a.contract_id in (select contract_id from policy_contract_covers) as covers,
        sum(p.effective_cost) as committed,
        coalesce(sum(p.effective_cost) filter (p.portion = 'metered'), 0) as used,
        coalesce(sum(p.effective_cost) filter (p.activity = 'commitment_idle'), 0) as unused
    from portions p
    join agreed a on a.contract_id = p.contract_id
    where a.kind in ('commitment', 'throughput')
    group by all
),
metered as (
    select b.contract_id, b.usage_date, b.currency, sum(m.contracted_cost) as cost, bool_or(m.contracted_cost is null) as is_unpriced
    from bought b
    join usage_meters m on m.usage_period = b.period and m.provider = b.provider and m.usage_date = b.usage_date
        and coalesce(b.billing_account_id = m.billing_account_id, b.billing_account_id is null)
    where b.covers and exists (from policy_contract_covers v where v.contract_id = b.contract_id and m.model glob v.model)
    group by all
),
charged as (
    select b.contract_id, b.usage_date, b.currency, sum(p.effective_cost) as cost
    from bought b
    join portions p on p.period = b.period and p.origin = 'bill' and p.charge_category = 'Usage' and p.contract_id is null and p.provider = b.provider
        and p.usage_date = b.usage_date and p.billing_currency = b.currency and coalesce(b.billing_account_id = p.billing_account_id, b.billing_account_id is null)
    where b.covers and exists (from policy_contract_covers v where v.contract_id = b.contract_id and p.model glob v.model)
    group by all
),
days as (
    select
        b.*, greatest(coalesce(m.cost, 0), coalesce(c.cost, 0)) as eligible,
        case b.kind when 'commitment' then least(b.used, eligible) else greatest(coalesce(m.cost, 0) - greatest(coalesce(c.cost, 0), 0), 0) end as covered,
        b.covers and b.currency = price_currency() and not coalesce(m.is_unpriced, false) as is_known
    from bought b
    left join metered m on m.contract_id = b.contract_id and m.usage_date = b.usage_date and m.currency = b.currency
    left join charged c on c.contract_id = b.contract_id and c.usage_date = b.usage_date and c.currency = b.currency
),
by_use as (
    select
        period, contract_id, provider, kind, currency, sum(committed) as committed, case when covers then sum(used) end as used, sum(unused) as unused,
        case when bool_and(is_known) then sum(eligible) end as eligible, case when bool_and(is_known) then sum(covered) end as covered
    from days
    group by period, contract_id, provider, kind, currency, covers
),
-- Prepaid credit: drawn by lines of the bill that say so, else by use that is billed at nothing.
credits as (
    select a.*, p.period, p.starts_on, p.ends_on
    from agreed a
    join periods p on p.starts_on < a.valid_to and p.ends_on > a.valid_from and p.starts_on <= $through
    where a.kind = 'prepaid'
),
of_credit as (
    select c.contract_id, p.billing_currency as currency, p.usage_date, greatest(p.billed_cost, 0) as bought,
        case when c.is_named then greatest(-p.billed_cost, 0) else 0 end as drawn, 0 as eligible,
        case when p.activity = 'commitment_idle' then p.effective_cost else 0 end as lost
    from agreed c
    join portions p on p.contract_id = c.contract_id
    where c.kind = 'prepaid'
    union all
    select c.contract_id, p.billing_currency as currency, p.usage_date, 0 as bought, case when c.is_named then 0 else p.effective_cost - p.billed_cost end as drawn,
        p.effective_cost as eligible, 0 as lost
    from agreed c
    join portions p on p.provider = c.provider and p.origin = 'bill' and p.charge_category = 'Usage' and p.contract_id is null
        and coalesce(c.billing_account_id = p.billing_account_id, c.billing_account_id is null)
        and p.usage_date >= c.valid_from and p.usage_date < c.valid_to
    where c.kind = 'prepaid'
),
prepaid as (
    select
        c.period, c.contract_id, c.provider, c.kind, o.currency, sum(o.bought) as committed, sum(o.drawn) as used, sum(o.lost) as unused,
        coalesce(sum(o.eligible) filter (o.usage_date >= c.starts_on), 0) as eligible,
        least(
            coalesce(sum(o.drawn) filter (o.usage_date >= c.starts_on), 0),
            coalesce(sum(o.eligible) filter (o.usage_date >= c.starts_on), 0)) as covered
    from credits c
    join of_credit o on o.contract_id = c.contract_id and o.usage_date < c.ends_on
    group by c.period, c.contract_id, c.provider, c.kind, o.currency
),
on_the_bill as (
    select
        period, null as contract_id, provider, 'on_the_bill' as kind, billing_currency as currency, null as committed, null as used, sum(effective_cost) as unused,
        null as eligible, null as covered
    from portions
    where activity = 'commitment_idle' and contract_id is null
    group by all
),
either as (
    select * from by_use
    union all by name
    select * from prepaid
    union all by name
    select * from on_the_bill
)
select
    period, contract_id, provider, kind, currency, committed::decimal(38, 12) as committed_cost, used::decimal(38, 12) as used_cost,
    unused::decimal(38, 12) as unused_cost, percent_of(used, committed) as utilization_percent, eligible::decimal(38, 12) as eligible_cost,
    covered::decimal(38, 12) as covered_cost, (eligible - covered)::decimal(38, 12) as on_demand_cost, percent_of(covered, eligible) as coverage_percent
from either

-- For every charge the ledger adds up to it, exactly, in every cost column and in quantity. severity: fail
with summed as (
    select
        charge_id,
        sum(list_cost) as list_cost, sum(contracted_cost) as contracted_cost, sum(effective_cost) as effective_cost,
        sum(billed_cost) as billed_cost, sum(chargeback_cost) as chargeback_cost, sum(consumed_quantity) as consumed_quantity
    from ledger
    group by all
)
select coalesce(c.charge_id, s.charge_id) as charge_id, c.period, c.effective_cost as charge, s.effective_cost as ledger
from charges c
full join summed s on s.charge_id = c.charge_id
where c.charge_id is null or s.charge_id is null
    or s.list_cost <> c.list_cost or s.contracted_cost <> c.contracted_cost or s.effective_cost <> c.effective_cost
    or s.billed_cost <> c.billed_cost or s.chargeback_cost <> c.effective_cost
    or s.consumed_quantity <> coalesce(c.consumed_quantity, 0)

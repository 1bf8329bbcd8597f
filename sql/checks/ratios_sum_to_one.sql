-- The allocated ratios of every charge and its corrections sum to one; to zero where a correction took it back whole, and on disputes. severity: fail
select
    coalesce(c.corrects_charge_id, c.charge_id) as charge_id, sum(l.allocated_ratio) as ratio, count(c.corrects_charge_id) + count(*) filter (c.origin = 'dispute') as correction_rows
from ledger l
join charges c on c.charge_id = l.charge_id
group by all
having ratio <> 1 and not (ratio = 0 and correction_rows > 0)

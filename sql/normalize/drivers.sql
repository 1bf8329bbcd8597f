-- Landed drivers such as seats: of every driver, the rows of its newest delivery.
-- A driver without dates holds on every day; for a closed period, the one that was known at its close.
-- grain: driver, usage_date, keys, target
with arrivals as (
    select delivery_id, max(seq) as seq, max(night) as night
    from source_files
    where kind = 'drivers' and state = 'landed'
    group by all
)
select l.driver, l.usage_date, l.keys, l.target, l.weight, l.source_file, l.source_row
from landed_drivers l
join arrivals a on a.delivery_id = l.delivery_id
where (l.usage_date >= $period_start and l.usage_date < $period_end) or (l.usage_date is null and a.night <= $undated_until)
qualify a.seq = max(a.seq) over (partition by l.driver, l.usage_date is null, coalesce(strftime(l.usage_date, '%Y-%m'), ''))

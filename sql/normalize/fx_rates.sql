-- Exchange rates that finance landed: units of the company's currency for one unit of a bill's.
-- grain: period, currency
with arrivals as (
    select delivery_id, max(seq) as seq
    from source_files
    where kind = 'fx' and state = 'landed'
    group by all
)
select l.period, l.currency, l.rate, l.rate_source, l.source_file, l.source_row
from landed_fx l
join arrivals a on a.delivery_id = l.delivery_id
where l.period = $period
qualify a.seq = max(a.seq) over (partition by l.period, l.currency)

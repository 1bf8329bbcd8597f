-- No two gateways tell the same calls: take the files of the one that is not of record out of landing. severity: close
select p.period, c.source, c.other_source, sum(c.calls)::bigint as calls, min(c.usage_date) as first_day
from calls_told_twice c
join periods p on c.usage_date >= p.starts_on and c.usage_date < p.ends_on
where p.state <> 'closed' and ($only_period is null or p.period = $only_period)
group by all
order by all

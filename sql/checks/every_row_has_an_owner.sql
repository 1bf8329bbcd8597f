-- Every row of the ledger names a team that we know, or says unallocated with a reason. A team that left is known by what closed
-- months booked for it: corrections of them still are its. severity: fail
select l.ledger_id, l.period, l.team_id, l.cost_pool, l.reason
from ledger l
left join (
    select team_id from policy_teams union select team_id from ledger where since_version > 0
) t on t.team_id = l.team_id
where l.version = 0 and (l.team_id is null or (l.team_id <> 'unallocated' and t.team_id is null)
    or (l.team_id = 'unallocated' and l.reason is null))

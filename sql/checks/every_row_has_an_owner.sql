-- Every row of the ledger names a team that we know, or says unallocated with a reason. severity: fail
select l.ledger_id, l.period, l.team_id, l.cost_pool, l.reason
from ledger l
left join policy_teams t on t.team_id = l.team_id
where l.version = 0 and (l.team_id is null or (l.team_id <> 'unallocated' and t.team_id is null)
    or (l.team_id = 'unallocated' and l.reason is null))

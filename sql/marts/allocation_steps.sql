-- Cost on its way through support teams: what each received and passed on, in the period it was used.
-- grain: period, charge_id, portion, part, stage, rule_id, team_id
select usage_period as period, * exclude (usage_period)
from period_steps

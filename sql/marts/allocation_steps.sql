-- Cost on its way through support teams, in the period it was used: what `cost_pool` sent to the support team `team_id`, which passed
-- it on. Rows between teams that serve each other are gross, since cost that comes back is passed on again: for every charge and such
-- team, what arrives (its own pool, what others sent, these rows) less what it sends to the other teams is what it passes to owners.
-- The ledger names these owners under the team where the cost arrived from outside (driver `reciprocal`). A closed period is shown with
-- what arrived since; the ledger books the difference as a correction.
-- grain: period, charge_id, portion, part, stage, cost_pool, rule_id, team_id, driver, fallback_level
--   team_id: The support team that received it and passed it on.
select usage_period as period, * exclude (usage_period)
from period_steps

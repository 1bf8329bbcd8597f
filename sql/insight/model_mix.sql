-- Which models the money and the tokens of a month went to: the five with the most cost, and all other. Percents add up to 100 exactly:
-- what rounding leaves goes to the largest remainders. Where a refund made a part negative, they are only rounded.
-- grain: period, scope, team_id, rank
--   scope: company or team
--   team_id: the team; `*` for the company
--   rank: 1 to 5 by cost, 6 for all other
--   model: the model; `other` on rank 6, `no model told` where nobody named one
--   models: how many models the row is about
--   cost: charged for its calls, embeddings included, in the company's currency
--   tokens: input and output
--   cost_percent: of the cost of all models; NULL where there is none
--   tokens_percent: of the tokens of all models; NULL where there are none
with sums as (
    select period, 'company' as scope, team_id, coalesce(model, 'no model told') as model, sum(cost) as cost, sum(input_tokens + output_tokens) as tokens
    from efficiency
    where scope = 'model'
    group by all
    union all by name
    select period, 'team' as scope, team_id, coalesce(model, 'no model told') as model, sum(cost) as cost, sum(input_tokens + output_tokens) as tokens
    from efficiency
    where scope = 'detail'
    group by all
),
ranked as (
    select *, least(row_number() over (partition by period, scope, team_id order by cost desc, tokens desc, model), 6) as rank
    from sums
    where cost <> 0 or tokens <> 0
),
parts as (
    select
        period, scope, team_id, rank, max(case when rank = 6 then 'other' else model end) as model, count(*) as models,
        sum(pico(cost))::hugeint as units, sum(tokens)::hugeint as tokens
    from ranked
    group by all
),
whole as (
    select
        *, sum(units) over mix as all_units, sum(tokens) over mix as all_tokens,
        min(units) over mix >= 0 as is_plain,
        units * 10000 // nullif(all_units, 0) as cost_points, units * 10000 % nullif(all_units, 0) as cost_rest,
        tokens * 10000 // nullif(all_tokens, 0) as token_points, tokens * 10000 % nullif(all_tokens, 0) as token_rest
    from parts
    window mix as (partition by period, scope, team_id)
),
points as (
    select
        *,
        cost_points + (row_number() over (partition by period, scope, team_id order by cost_rest desc, rank)
            <= 10000 - sum(cost_points) over (partition by period, scope, team_id))::integer as cost_whole,
        token_points + (row_number() over (partition by period, scope, team_id order by token_rest desc, rank)
            <= 10000 - sum(token_points) over (partition by period, scope, team_id))::integer as token_whole
    from whole
)
select
    period, scope, team_id, rank::integer as rank, model, models, money(units) as cost, tokens::decimal(38, 0) as tokens,
    case when is_plain then (cost_whole::decimal(38, 0) * 0.01::decimal(3, 2))::decimal(38, 2)
        else percent_of(money(units), money(all_units::hugeint)) end as cost_percent,
    (token_whole::decimal(38, 0) * 0.01::decimal(3, 2))::decimal(38, 2) as tokens_percent
from points

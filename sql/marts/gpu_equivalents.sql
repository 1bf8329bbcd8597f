-- How many hours of the card that counts as one an hour of each GPU is, where the rate card sells equivalent GPU-hours.
-- grain: gpu_model, valid_from
--   equivalent: equivalent hours of one hour of this card
--   valid_from: first day; NULL: since ever
--   valid_to: first day on which it no longer holds; NULL: no end
select
    gpu_model, equivalent, nullif(valid_from, date '0001-01-01') as valid_from, nullif(valid_to, date '9999-12-31') as valid_to
from policy_gpu_equivalents

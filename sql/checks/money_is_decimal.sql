-- No cost, amount or rate is ever a floating-point number. severity: fail
select table_name, column_name, data_type
from duckdb_columns()
where not internal and regexp_matches(column_name, '(cost|amount|rate|ratio|weight|quantity)$') and data_type in ('FLOAT', 'DOUBLE')

-- What is the pool made of, and the selection? One row per value of a kept field, the largest in the pool first.
-- The field's quoted name is put in by the caller; beyond 5000 values it is no group to compare by. Reads the views `pool` and `selection`.
with before as (
    select $field as name, count(*) as pool from pool group by all
),
after as (
    select $field as name, count(*) as selection from selection group by all
)
select before.name, before.pool, coalesce(after.selection, 0) as selection
from before left join after on before.name is not distinct from after.name
order by before.pool desc, before.name
limit 5001

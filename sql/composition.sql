-- What is the pool made of, and the selection? One row per value of a kept field, the largest in the pool first.
-- $field: the field's quoted name, put in by the caller. Reads the views `pool` and `selection`.
with before as (
    select $field as name, count(*) as pool from pool group by all
),
after as (
    select $field as name, count(*) as selection from selection group by all
)
select before.name, before.pool, coalesce(after.selection, 0) as selection
from before left join after on before.name is not distinct from after.name
order by before.pool desc, before.name

-- What could not be read? Of each reason the first $each rejects, and how many there are.
-- Reads rejects. One row a reject.
select reason, source, position, detail, number, total
from (
    select *,
        row_number() over (partition by reason order by source, position nulls first, key) as number,
        count(*) over (partition by reason) as total
    from rejects
)
where number <= $each
order by total desc, reason, number

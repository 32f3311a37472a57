-- What does one target's part of the budget buy, of what no earlier target took? Candidates by order key until the next one
-- would cost too much, and $more of those beyond.
-- One row per sample taken, best first. $scores: score files; $target; $budget: in the unit of `cost`; $more: ranks.
insert into taken
with candidates as (
    select sample_id, order_key, cost
    from read_parquet($scores, hive_partitioning = false)
    where target = $target and barred is null and isfinite(order_key)
        and sample_id not in (select sample_id from taken)
)
select sample_id, $target as target
from candidates
qualify sum(cost) over (order by order_key desc, sample_id rows unbounded preceding) <= $budget
    or list_contains($more, row_number() over (order by order_key desc, sample_id))
order by order_key desc, sample_id

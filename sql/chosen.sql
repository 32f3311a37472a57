-- Who was kept to the end, in what order, and how often does each count?
-- One row per sample kept by the last step. $ledger: all ledger files; $last: number of the last step.
-- Rank and score are those of the latest step that gave one; ties break on sample_id.
with ledger as (
    select step, sample_id, kept, score, rank, weight
    from read_parquet($ledger, hive_partitioning = false)
),
kept_to_the_end as (
    select sample_id from ledger where step = $last and kept
),
summed as (
    select
        sample_id,
        arg_max(rank, step) filter (where rank is not null) as last_rank,
        arg_max(score, step) filter (where score is not null) as score,
        product(weight) as weight
    from ledger
    where sample_id in (select sample_id from kept_to_the_end)
    group by sample_id
)
select row_number() over (order by last_rank nulls last, sample_id) as rank, sample_id, weight, score
from summed

-- What became of each sample in the end, and at which step?
-- One row per sample of one shard. $part: the pool's file; $ledger: that shard's ledger files, of all steps.
-- A sample that a step drops has no row in later ones, so its last row tells.
with decided as (
    select
        sample_id, arg_max(kept, step) as kept, arg_max(reason, step) as reason, arg_max(selector, step) as selector,
        arg_max(score, step) filter (where score is not null) as score, product(weight) as weight
    from read_parquet($ledger, hive_partitioning = false)
    group by sample_id
)
select
    pool.* exclude (file_row_number, filename),
    decided.kept as tamis_kept, decided.reason as tamis_reason, decided.selector as tamis_step,
    decided.score as tamis_score, case when decided.kept then decided.weight end as tamis_weight
from read_parquet($part, hive_partitioning = false, file_row_number = true, filename = true) pool left join decided using (sample_id)
order by pool.file_row_number

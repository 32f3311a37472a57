-- Who was taken, and for which target? The others stand with the target that likes them best.
-- One row per candidate, by shard and row within it; `row` is the one that speaks for it.
-- $scores: score files, a row for each sample and target; reads `taken`.
with candidates as (
    select
        part, file_row_number as row, sample_id, target, order_key, barred,
        barred is null and isfinite(coalesce(order_key, 'nan'::double)) as eligible
    from read_parquet($scores, hive_partitioning = false, file_row_number = true)
),
joined as (
    select candidates.*, taken.target as taken_for
    from candidates left join taken using (sample_id)
),
one_each as (
    select *, min(row) over (partition by sample_id) as first_row
    from joined
    qualify row_number() over (
        partition by sample_id
        order by coalesce(target = taken_for, false) desc, eligible desc, order_key desc, target
    ) = 1
),
ranked as (
    select
        *,
        row_number() over (
            partition by eligible order by taken_for is not null desc, taken_for, order_key desc, sample_id
        ) as rank
    from one_each
)
select
    part, row, sample_id,
    taken_for is not null or coalesce(barred = 'passed_through', false) as kept,
    case when eligible then rank end as rank,
    1.0::double as weight,
    case
        when barred is not null then barred
        when not eligible then 'not_scorable'
        when taken_for is not null then 'chosen'
        else 'below_cut'
    end as reason,
    null::ubigint as related_id
from ranked
order by part, first_row

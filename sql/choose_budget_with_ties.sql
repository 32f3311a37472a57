-- What does the budget buy where all ties of the line are taken, too? As DataComp: the score of the candidate after the
-- last one that is paid for is the line, and all that reach it are kept.
-- One row per candidate, by shard and row within it. $scores: score files; $budget: rows.
with candidates as (
    select
        part, file_row_number as row, sample_id, order_key, barred,
        barred is null and isfinite(coalesce(order_key, 'nan'::double)) as eligible
    from read_parquet($scores, hive_partitioning = false, file_row_number = true)
),
ranked as (
    select
        part, row, sample_id, order_key, barred, eligible,
        row_number() over (partition by eligible order by order_key desc, sample_id) as rank
    from candidates
),
line as (
    select coalesce(min(order_key), '-infinity'::double) as least
    from ranked
    where eligible and rank = $budget + 1
)
select
    part, row, sample_id,
    case when eligible then order_key >= least else coalesce(barred = 'passed_through', false) end as kept,
    case when eligible then rank end as rank,
    1.0::double as weight,
    case
        when barred is not null then barred
        when not eligible then 'not_scorable'
        when order_key >= least then 'chosen'
        else 'below_cut'
    end as reason,
    null::ubigint as related_id
from ranked cross join line
order by part, row

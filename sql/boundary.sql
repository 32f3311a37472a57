-- Who was just kept, and who just dropped? The nearest to the line on each side, nearest first.
-- One row per sample. $step; $each_side. Reads the views `ledger` and `pool`.
with ranked as (
    select
        sample_id, kept, rank, score, reason, detail,
        row_number() over (partition by kept order by case when kept then -rank else rank end) as nearness
    from ledger
    where step = $step and rank is not null
)
select
    ranked.rank, ranked.score, ranked.kept, ranked.reason, ranked.detail, ranked.sample_id, pool.key, pool.text,
    pool.source, pool.position, pool.uri, pool."offset", pool.n_bytes, pool.content_hash, pool.width
from ranked join pool using (sample_id)
where nearness <= $each_side
order by ranked.kept desc, nearness

-- Which samples of one selection are not in another as they are here, and what did that one's run make of each?
-- One row per sample that is not there, is something else there (text or fields), or counts otherwise; best first.
-- Views: mine, other (selections), my_pool, other_pool, other_ledger, other_rejects. Of a run that was thinned the views
-- of its pool and ledger have no rows.
with compared as (
    select
        m.sample_id, m.key, m.rank, m.weight, m.uid, o.weight as other_weight,
        p.source, p.content_hash, t.sample_id is not null as there,
        coalesce(t.content_hash <> p.content_hash, false) or coalesce(o.held <> m.held, false) as changed
    from mine m
    left join other o using (sample_id)
    left join my_pool p using (sample_id)
    left join other_pool t using (sample_id)
),
apart as (
    select * from compared where other_weight is null or other_weight <> weight or changed
),
decided as (
    select sample_id, step, selector, reason, related_id, detail
    from other_ledger
    where not kept
),
refused as (
    select key, min(reason) as reject from other_rejects group by key
)
select
    a.sample_id, a.key, a.uid, a.rank, a.weight, a.other_weight,
    d.step, d.selector, d.reason, d.related_id, d.detail,
    a.source, a.there, a.changed,
    r.reject,
    d.related_id is not null and n.sample_id is null as related_is_theirs
from apart a
left join decided d using (sample_id)
left join refused r on r.key = a.key
left join my_pool n on n.sample_id = d.related_id
order by a.rank, a.sample_id

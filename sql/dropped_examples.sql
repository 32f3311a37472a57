-- What did a step drop, for which reasons, and which few samples show it? One row per reason, the most frequent first.
-- $step; $each. `drawn` are those with the smallest ids, which are hashes, so as if by chance; `highest` and `lowest` those
-- at the ends of the scores; they tell nothing where there is no spread. One pass, a few ids held.
select
    reason, count(*) as many,
    list_transform(min(sample_id, $each), lambda id: id::ubigint) as drawn,
    min(score) filter (where isfinite(score)) < max(score) filter (where isfinite(score)) as spread,
    max({'score': score, 'sample_id': sample_id}, $each) filter (where isfinite(score)) as highest,
    min({'score': score, 'sample_id': sample_id}, $each) filter (where isfinite(score)) as lowest
from ledger
where step = $step and not kept
group by reason
order by many desc, reason

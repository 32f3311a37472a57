-- Which samples that a rule dropped came nearest to passing it? Their ids, nearest first: one row per sample.
-- $step, $reason; $each. $least and $most are the rule's bounds (null: none) of the number that ends the ledger's detail.
with measured as (
    select sample_id, try_cast(regexp_extract(detail, '([-+.0-9e]+)$', 1) as double) as value
    from ledger
    where step = $step and reason = $reason and not kept
)
select sample_id
from measured
where value is not null
order by least(abs(value - $least::double), abs(value - $most::double)), sample_id
limit $each

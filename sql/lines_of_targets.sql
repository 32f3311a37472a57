-- Where does the line run for each target that was served in turn?
-- One row per target that something was taken for. $scores: score files, a row for each sample and target; reads `taken`.
select taken.target, min(scores.order_key) as line
from taken join read_parquet($scores, hive_partitioning = false) scores using (sample_id, target)
group by taken.target
order by taken.target

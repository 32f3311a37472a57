"""`emit: [labels]`: what to train with, exports/labels.parquet: each sample's label, its weight, and whose it is.

Of the last step that tells labels (self_paced, label_errors), of all its candidates that have one, in the pool's order.
`by` is user or model; a model's are believed, not known, and are not to be imported."""

from collections.abc import Iterator

import pyarrow as pa

from tamis.pipeline.choose.batches import side_by_side
from tamis.pipeline.files.atomic import write_batches
from tamis.pipeline.recipe.plans import tells_labels
from tamis.pipeline.store.learned import fitted_of
from tamis.pipeline.store.runs import Run
from tamis.selectors.contract import Inputs
from tamis.selectors.labeled import Labeled

LABELS = pa.schema(
    [
        pa.field("sample_id", pa.uint64(), nullable=False),
        pa.field("key", pa.string(), nullable=False),
        pa.field("label", pa.string(), nullable=False),
        pa.field("weight", pa.float64(), nullable=False),  # 0 to 1
        pa.field("by", pa.string(), nullable=False),  # user, model
    ]
)


def write_labels(run: Run) -> None:
    last = max(step.number for step in run.steps if tells_labels(step.selector))
    write_batches(run.folder / "exports" / "labels.parquet", LABELS, _batches(run, fitted_of(run, last)))


def _batches(run: Run, learned: Labeled) -> Iterator[pa.RecordBatch]:
    for part in run.pool.parts:
        for batch in side_by_side(run, part, Inputs(fields=("key",)), of_target=False):
            there, told = learned.training_labels(batch)
            keys = batch["key"].filter(there)
            yield pa.record_batch([told[0], keys, *told[1:]], schema=LABELS)

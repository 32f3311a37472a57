"""After a night: many small shards are merged, old runs thinned or taken away, and what nobody needs goes."""

from pathlib import Path

from tamis.pipeline.files.remote import working_copy
from tamis.pipeline.store.compact import compact
from tamis.pipeline.store.garbage import collect
from tamis.pipeline.store.old_runs import OF_OLD, Fate, Old

TIER = 16  # nights of a merged shard, such shards of a larger one, and so on


def tidied(store: Path, keep_runs: int, fate: Fate = "thin", allow_code: bool = False) -> str:
    """Tell what went. Raises StoreError."""
    with working_copy(store, also=OF_OLD) as here:
        compact(here, tier=TIER)
        told = collect(here, delete=True, allow_code=allow_code, old=Old(keep_runs, fate=fate))
    return told.splitlines()[-1].strip()

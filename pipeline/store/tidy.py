"""After a night: small shards merged where there are many, old runs thinned, and what nobody needs taken away."""

from pathlib import Path

from tamis.pipeline.files.remote import working_copy
from tamis.pipeline.store.compact import compact
from tamis.pipeline.store.garbage import collect
from tamis.pipeline.store.old_runs import Old

MANY = 8  # small shards beside each other that are worth a merge


def tidied(store: Path, keep_runs: int, allow_code: bool = False) -> str:
    """Tell what went. Raises StoreError."""
    with working_copy(store) as here:
        compact(here, least=MANY)
        told = collect(here, delete=True, allow_code=allow_code, old=Old(keep_runs))
    return told.splitlines()[-1].strip()

"""Near-duplicates of real texts: recall by Jaccard index against the curve and datasketch, speed, and memory.

    python bench/near_dedup.py truth           # what is dropped, against the Jaccard index of all pairs
    python bench/near_dedup.py recall          # 10% planted copies of known Jaccard index among the real documents
    python bench/near_dedup.py speed --rounds 3
    python bench/near_dedup.py memory          # the pool, and ten and fifty times the pool

Planted: one document in ten is copied with words changed, at equal distances, until its shingles have the wanted
Jaccard index. All compare 5-word shingles of the same normalised words by 112 hashes in 14 buckets of 8. `speed` is
from texts to groups: tamis with one and two threads, datasketch 2 (MinHash.update_batch, MinHashLSH) in one process on
the same words; datasketch sees a tenth of the documents, alternating."""

import argparse
import json
import random
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from real_text import documents
from tamis.pipeline.columns.hashed import made as signatures_of
from tamis.pipeline.columns.hashed import minhash_maker
from tamis.pipeline.files.atomic import write_batches
from tamis.pipeline.machine import peak
from tamis.pipeline.read.identity import sample_ids
from tamis.selectors.contract import Rereadable
from tamis.selectors.dedup.near_texts import WORDS, NearDedup, Signed
from tamis.selectors.texts.minhash import Sketch, signatures
from tamis.selectors.texts.words import words

BUCKETS, ROWS = Sketch().bands, Sketch().rows
HASHES = BUCKETS * ROWS
LINE = Sketch().line

INDICES = (0.5, 0.6, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95)
PLANTED_WORDS = 60  # at least, in a document that is copied
BATCH = 1024


def shingles(text: str) -> set[str]:
    told = words(text)
    return {" ".join(told[first : first + WORDS]) for first in range(len(told) - WORDS + 1)}


def jaccard(one: set[str], two: set[str]) -> float:
    return len(one & two) / len(one | two) if one or two else 0.0


def planted(docs: list[str], chance: random.Random) -> list[tuple[int, str, float]]:
    """(place of the original, copy, their Jaccard index) of a tenth of the documents."""
    made = []
    places = [n for n, text in enumerate(docs) if len(text.split()) >= PLANTED_WORDS]
    for number, place in enumerate(chance.sample(places, len(docs) // 10)):
        wanted = INDICES[number % len(INDICES)]
        told = words(docs[place])
        count = len(told) - WORDS + 1
        changes = max(1, round((1 - wanted) / (1 + wanted) * count / WORDS))
        for at in np.linspace(WORDS, len(told) - WORDS, changes).astype(int).tolist():
            told[at] = "".join(chance.choice("abcdefghijklmnopqrstuvwxyz") for _ in range(9))
        copy = " ".join(told)
        made.append((place, copy, jaccard(shingles(docs[place]), shingles(copy))))
    return made


def signed(texts: list[str], form: Any, threads: int) -> tuple[Any, Any, Any]:
    """[texts] whether shingled, keys of bands, and low bytes."""
    arrays = [pa.array(texts[first : first + BATCH]) for first in range(0, len(texts), BATCH)]
    with ThreadPoolExecutor(threads) as pool:
        parts = list(pool.map(lambda some: signatures(some, Sketch(form=form)), arrays))
    return (
        np.concatenate([one.shingled for one in parts]),
        np.concatenate([one.buckets for one in parts]),
        np.concatenate([one.low for one in parts]),
    )


def sketched(texts: list[str]) -> tuple[Any, list[Any]]:
    """datasketch's index with all texts in it, and their sketches."""
    from datasketch import MinHash, MinHashLSH

    index = MinHashLSH(num_perm=HASHES, params=(BUCKETS, ROWS))
    sketches = []
    for number, text in enumerate(texts):
        sketch = MinHash(num_perm=HASHES)
        found = [shingle.encode() for shingle in shingles(text)]
        if found:
            sketch.update_batch(found)
            index.insert(number, sketch, check_duplication=False)
        sketches.append(sketch if found else None)
    return index, sketches


def pairs_of(buckets: Any, shingled: Any) -> set[tuple[int, int]]:
    """All pairs that share a bucket."""
    met: set[tuple[int, int]] = set()
    for bucket in range(buckets.shape[1]):
        groups = defaultdict(list)
        for place in np.flatnonzero(shingled).tolist():
            groups[int(buckets[place, bucket])].append(place)
        for members in groups.values():
            met |= {(a, b) for n, b in enumerate(members) for a in members[:n]}
    return met


def recall(_: argparse.Namespace) -> None:
    chance = random.Random(0)
    docs = [doc["text"] for doc in documents()]
    chance.shuffle(docs)
    docs = docs[:20_000]
    copies = planted(docs, chance)
    texts = docs + [copy for _, copy, _ in copies]
    known = {(place, len(docs) + n): index for n, (place, _, index) in enumerate(copies)}
    found: dict[str, set[tuple[int, int]]] = {}
    for form in ("exact", "fast"):
        shingled, buckets, _ = signed(texts, form, 2)
        found[f"tamis {form}"] = pairs_of(buckets, shingled)
    index, sketches = sketched(texts)
    found["datasketch"] = {
        (min(a, b), max(a, b)) for b, one in enumerate(sketches) if one is not None for a in index.query(one) if a != b
    }
    print(f"{len(docs):,} documents, {len(copies):,} planted copies\n")
    print("| Jaccard index | pairs | curve | " + " | ".join(found) + " |\n|---|---:|---:|" + "---:|" * len(found))
    for low, high in zip(np.arange(0.45, 0.96, 0.05), np.arange(0.5, 1.01, 0.05), strict=True):
        mine = [pair for pair, value in known.items() if low <= value < high]
        if not mine:
            continue
        curve = np.mean([1 - (1 - known[pair] ** ROWS) ** BUCKETS for pair in mine])
        shares = [np.mean([pair in met for pair in mine]) for met in found.values()]
        print(
            f"| {low:.2f}-{high:.2f} | {len(mine):,} | {curve:.3f} | " + " | ".join(f"{s:.3f}" for s in shares) + " |"
        )
    indices = all_indices([shingles(text) for text in texts])
    chances = 1 - (1 - np.array(list(indices.values())) ** ROWS) ** BUCKETS
    print("\nAll pairs, most of them of documents made from one form: what the curve expects, and what was met.\n")
    print("| | pairs | below 0.3 | 0.3-0.5 | 0.5-0.7 | 0.7 or more |\n|---|---:|---:|---:|---:|---:|")
    edges = [0, 0.3, 0.5, 0.7, 1.01]
    expected = np.histogram(list(indices.values()), edges, weights=chances)[0]
    print(f"| expected | {chances.sum():,.0f} | " + " | ".join(f"{count:,.0f}" for count in expected) + " |")
    for name, met in found.items():
        counts = np.histogram([indices.get(pair, 0.0) for pair in met], edges)[0]
        print(f"| {name} | {len(met):,} | " + " | ".join(f"{count:,}" for count in counts) + " |")


def truth(_: argparse.Namespace) -> None:
    """Documents in the order of their keys; the first of a group is kept. Precision: the share of dropped documents whose
    index with the kept one that is named reaches the line; recall: of all pairs that reach it, the share of which one is
    dropped. datasketch as its users do it: chains of what its index returns, and the same of what its sketches confirm."""
    chance = random.Random(0)
    docs = list(documents())
    chance.shuffle(docs)
    texts = [doc["text"] for doc in docs[:20_000]]
    sets = [shingles(text) for text in texts]
    near = {pair for pair, index in all_indices(sets).items() if index >= LINE}
    keys = [f"{number:06d}" for number in range(len(texts))]
    ids = np.array(sample_ids("", keys), np.uint64)
    place = {int(ids[number]): number for number in range(len(ids))}
    rows = {}
    for name, step in (("tamis", NearDedup()), ("tamis, verify: false", NearDedup(verify=False))):
        began = time.process_time()
        batches = []
        for first in range(0, len(texts), BATCH):
            some = pa.array(texts[first : first + BATCH])
            values = signatures_of(minhash_maker(step.sketch), pa.record_batch({"text": some}))
            told = {"sample_id": ids[first : first + BATCH], "text": some, "key": keys[first : first + BATCH]}
            told |= {"n_bytes": pa.array([len(text.encode()) for text in some.to_pylist()], pa.int64())}
            told |= {"width": pa.nulls(len(some), pa.int32())}
            batches.append(
                pa.record_batch({**told, **dict(zip(("minhash_buckets", "minhash_low"), values, strict=True))})
            )
        ranked = step.rank(batches, None)
        seconds = time.process_time() - began
        dropped = {place[int(i)]: place[int(by)] for i, by in zip(ranked.ids, ranked.related, strict=True) if by}
        rows[name] = dropped, seconds
    began = time.process_time()
    index, sketches = sketched(texts)
    met = {
        (min(a, b), max(a, b)) for b, one in enumerate(sketches) if one is not None for a in index.query(one) if a != b
    }
    seconds = time.process_time() - began
    rows["datasketch"] = chained(met, len(texts)), seconds
    began = time.process_time()
    met = {(a, b) for a, b in met if sketches[a].jaccard(sketches[b]) >= LINE}
    rows["datasketch, verified by its sketches"] = chained(met, len(texts)), seconds + time.process_time() - began
    print(f"{len(texts):,} documents, {len(near):,} pairs of an index of {LINE:.2f} or more\n")
    print(
        "| | dropped | precision | least index | recall of pairs | processor seconds |\n|---|---:|---:|---:|---:|---:|"
    )
    for name, (dropped, seconds) in rows.items():
        indices = [jaccard(sets[one], sets[by]) for one, by in dropped.items()]
        right = np.mean([value >= LINE for value in indices])
        found = np.mean([a in dropped or b in dropped for a, b in near])
        numbers = f"{len(dropped):,} | {right:.3f} | {min(indices):.2f} | {found:.3f} | {seconds:.1f}"
        print(f"| {name} | {numbers} |")


def chained(pairs: set[tuple[int, int]], count: int) -> dict[int, int]:
    """Each that a chain of pairs leads to from an earlier one, and the first of its chain."""
    root = list(range(count))

    def of(place: int) -> int:
        while root[place] != place:
            root[place] = root[root[place]]
            place = root[place]
        return place

    for a, b in pairs:
        one, two = sorted((of(a), of(b)))
        root[two] = one
    return {place: of(place) for place in range(count) if of(place) != place}


def all_indices(sets: list[set[str]]) -> dict[tuple[int, int], float]:
    """Jaccard index of all pairs that have 0.1 or more."""
    from scipy.sparse import csr_matrix, triu

    numbers: dict[str, int] = {}
    places = np.array([numbers.setdefault(shingle, len(numbers)) for some in sets for shingle in some])
    sizes = np.array([len(some) for some in sets])
    ends = np.append(0, np.cumsum(sizes))
    whole = csr_matrix((np.ones(len(places), np.int32), places, ends), shape=(len(sets), len(numbers)))
    told: dict[tuple[int, int], float] = {}
    for first in range(0, len(sets), 1000):
        both = triu(whole[first : first + 1000] @ whole.T, k=first + 1).tocoo()
        rows, values = both.row + first, both.data
        found = values / (sizes[rows] + sizes[both.col] - values)
        some = found >= 0.1
        told |= dict(
            zip(zip(rows[some].tolist(), both.col[some].tolist(), strict=True), found[some].tolist(), strict=True)
        )
    return told


def speed(asked: argparse.Namespace) -> None:
    docs = [doc["text"] for doc in documents()]
    random.Random(0).shuffle(docs)
    few = docs[: len(docs) // 10]
    for form in ("exact", "fast"):
        signed(docs[:BATCH], form, 1)
    seconds: dict[str, list[float]] = defaultdict(list)
    for _ in range(asked.rounds):
        for form in ("exact", "fast"):
            for threads in (1, 2):
                began = time.perf_counter()
                _, buckets, low = signed(docs, form, threads)
                sketch = Sketch(form=form)
                Signed(sketch, sketch.line).together(np.hstack([low, buckets.view(np.uint8)]))
                seconds[f"tamis {form}, {threads} thread{'s' * (threads > 1)}"].append(time.perf_counter() - began)
        began = time.perf_counter()
        sketched(few)
        seconds["datasketch, 1 process"].append(time.perf_counter() - began)
    sizes = {name: few if "datasketch" in name else docs for name in seconds}
    rates = {
        name: (sum(len(t.encode()) for t in sizes[name]) / 1e6 / min(told), len(sizes[name]) / min(told))
        for name, told in seconds.items()
    }
    theirs = rates["datasketch, 1 process"][0]
    print("| | MB/s | documents/s | times datasketch |\n|---|---:|---:|---:|")
    for name, (megabytes, count) in rates.items():
        print(f"| {name} | {megabytes:.1f} | {count:,.0f} | {megabytes / theirs:.1f} |")


def times(turn: int) -> Iterator[list[str]]:
    """The pool in an alphabet of its own, in batches."""
    letters = "abcdefghijklmnopqrstuvwxyz"
    turned = letters[turn % 26 :] + letters[: turn % 26]
    table = str.maketrans(letters, turned if turn < 26 else turned[::-1])
    batch: list[str] = []
    for doc in documents():
        batch.append(doc["text"].lower().translate(table))
        if len(batch) == BATCH:
            yield batch
            batch = []
    yield batch


class Stored(Rereadable):
    """Signatures in files, read anew each time, and texts where they are asked for."""

    def __init__(
        self, folder: Path, fields: tuple[str, ...] = ("key", "n_bytes", "width", "minhash_buckets", "minhash_low")
    ) -> None:
        self.folder, self.fields = folder, fields

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        for file in sorted(self.folder.glob("*.parquet")):
            yield from pq.ParquetFile(file).iter_batches(BATCH, columns=["sample_id", *self.fields], use_threads=False)

    def having(self, *fields: str) -> "Stored":
        return Stored(self.folder, fields)


def made(folder: Path, count: int) -> None:
    maker = minhash_maker(Sketch())
    fields = [("sample_id", pa.uint64()), ("key", pa.string()), ("text", pa.string()), ("n_bytes", pa.int64())]
    fields.append(("width", pa.int32()))
    schema = pa.schema([*fields, *(field for field in maker.schema() if field.name != "sample_id")])
    first = 0
    for turn in range(count):
        batches = []
        for texts in times(turn):
            ids = np.arange(first, first + len(texts), dtype=np.uint64)
            first += len(texts)
            keys = pa.array([f"{n:09d}" for n in ids.tolist()])
            sizes = pa.array([len(text.encode()) for text in texts], pa.int64())
            values = signatures_of(maker, pa.record_batch({"text": texts}))
            batches.append(
                pa.record_batch(
                    [pa.array(ids), keys, pa.array(texts), sizes, pa.nulls(len(texts), pa.int32()), *values], schema
                )
            )
        write_batches(folder / f"{turn:03d}.parquet", schema, batches)


def memory(asked: argparse.Namespace) -> None:
    if asked.folder:
        began = time.perf_counter()
        ranked = NearDedup().rank(Stored(Path(asked.folder)), None)
        told = {"documents": len(ranked.ids), "peak": peak(), "seconds": time.perf_counter() - began}
        print(json.dumps({**told, "dropped": ranked.facts["dropped"]}))
        return
    print("| documents | dropped | peak MB | seconds |\n|---:|---:|---:|---:|")
    for count in (1, 10, 50):
        with tempfile.TemporaryDirectory() as work:
            made(Path(work), count)
            command = [sys.executable, __file__, "memory", "--folder", work]
            told = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        numbers = f"{told['documents']:,} | {told['dropped']:,} | {told['peak'] / 1e6:,.0f} | {told['seconds']:.1f}"
        print(f"| {numbers} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["truth", "recall", "speed", "memory"])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--folder", help="of signatures that were made")
    asked = parser.parse_args()
    {"truth": truth, "recall": recall, "speed": speed, "memory": memory}[asked.what](asked)


if __name__ == "__main__":
    main()

"""The real text pool for benchmarks: TAMIS_TEST_DATA/text_pool/*.jsonl.gz, as one file of a wanted size."""

import gzip
import json
import os
import random
from collections.abc import Iterator
from pathlib import Path

DATA = Path(os.environ.get("TAMIS_TEST_DATA", Path(__file__).resolve().parent.parent.parent / "shared" / "data"))


def documents() -> Iterator[dict[str, str]]:
    """All documents, domain after domain."""
    paths = sorted((DATA / "text_pool").glob("*.jsonl.gz"))
    if not paths:
        raise SystemExit(f"no real text pool at {DATA / 'text_pool'}; set TAMIS_TEST_DATA")
    for path in paths:
        with gzip.open(path, "rt", encoding="utf-8") as lines:
            for line in lines:
                yield json.loads(line)


def write_pool(path: Path, megabytes: int, target: Path, target_domain: str = "medical_qa") -> None:
    """Write a pool of real documents in mixed order, and 200 documents of one domain as target.

    Beyond the first pass over the documents each further one turns every document at a random word, so that ids and
    texts differ while the words stay real."""
    chance = random.Random(0)
    docs = list(documents())
    chance.shuffle(docs)
    held = [doc for doc in docs if doc["domain"] == target_domain][:200]
    held_ids = {doc["id"] for doc in held}
    target.write_text("".join(json.dumps(doc, ensure_ascii=False) + "\n" for doc in held), encoding="utf-8")
    docs = [doc for doc in docs if doc["id"] not in held_ids]
    written, turn = 0, 0
    with path.open("wb") as out:
        while written < megabytes * 1_000_000:
            for doc in docs:
                line = (json.dumps(_turned(doc, turn, chance), ensure_ascii=False) + "\n").encode()
                out.write(line)
                written += len(line)
                if written >= megabytes * 1_000_000:
                    break
            turn += 1


def _turned(doc: dict[str, str], turn: int, chance: random.Random) -> dict[str, str]:
    if turn == 0:
        return doc
    words = doc["text"].split(" ")
    cut = chance.randrange(len(words))
    return {**doc, "id": f"{doc['id']}-{turn}", "text": " ".join(words[cut:] + words[:cut])}

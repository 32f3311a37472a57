"""What counts as a piece of an evaluation item: words of every script, numbers as they are, and no turns of phrase."""

import random
from typing import Any

import pyarrow as pa
import pytest

from tamis.selectors.dedup.decontaminate import Decontaminate
from tamis.selectors.texts.words import words

WORDS = [a + b + c for a in "bdfgklm" for b in "aeiou" for c in "nrst"]
CHINESE = [chr(code) for code in range(0x4E00, 0x4E00 + 900)]


def of(texts: list[str]) -> pa.RecordBatch:
    return pa.record_batch({"key": [f"k{n}" for n in range(len(texts))], "text": pa.array(texts, pa.string())})


def met(pool: list[str], items: list[str], **settings: Any) -> list[str | None]:
    """[pool] what the ledger tells of those that are dropped."""
    batch = of(pool)
    learned = Decontaminate(**settings).fit([batch.slice(n, 7) for n in range(0, len(pool), 7)], [[of(items)]])
    return [None if verdict is None else verdict[1] for verdict in learned.verdicts(batch)]


def prose(count: int, seed: int) -> str:
    return " ".join(random.Random(seed).choices(WORDS, k=count))


def clause(count: int, seed: int) -> str:
    return "".join(random.Random(seed).choices(CHINESE, k=count))


def test_thirteen_numbers_are_not_any_thirteen_numbers() -> None:
    draw = random.Random(0)
    item = "Find the median of 12, 15, 18, 20, 25, 30, 31, 33, 35, 40, 41, 42, 50, 61."
    tables = ["Rainfall: " + " ".join(str(draw.randint(1, 999)) for _ in range(60)) for _ in range(50)]
    found = met([*tables, f"A quiz. {item} Answer at once."], [item])
    assert found[:-1] == [None] * 50 and found[-1] is not None and "12 15 18" in found[-1]


def test_items_of_scripts_without_spaces_are_found_inside_a_sentence() -> None:
    item = clause(12, 1) + "，" + clause(10, 2) + "？"
    pool = [clause(80, 3) + "题目" + item.rstrip("？") + "是什么" + clause(40, 4), clause(120, 5)]
    found = met(pool, [item])
    assert found[1] is None and found[0] is not None and clause(12, 1) in found[0], "told as it is written"


def test_a_long_thai_word_is_not_thirteen_words() -> None:
    name = "มหาวิทยาลัยเชียงใหม่"
    item = f"{name}ตั้งอยู่ที่ไหนและก่อตั้งเมื่อใดโดยใครในสมัยใดของประวัติศาสตร์ไทย"
    assert met([f"เขาเรียนที่{name}มาแล้วสองปี", f"คำถาม{item}ตอบ"], [item])[0] is None
    assert met([f"คำถาม{item}ตอบ"], [item])[0] is not None


def test_turns_of_phrase_that_many_texts_have_do_not_count() -> None:
    """As for GPT-3; what is the item's own is still looked for, and is told of."""
    phrase = prose(20, 1)
    item = f"{phrase} {prose(30, 2)}"
    pool = [f"{prose(30, 100 + n)} {phrase} {prose(30, 200 + n)}" for n in range(30)]
    pool.append(f"{prose(10, 3)} {prose(30, 2)} {prose(10, 4)}")
    assert [told is not None for told in met(pool, [item])] == [False] * 30 + [True]
    assert all(told is not None for told in met(pool, [item], common=None))
    learned = Decontaminate().fit([of(pool)], [[of([item])]])
    assert learned.common.sum() == 8 and "8 of these more than 10 texts have" in learned.tell(None)["said"][0]  # type: ignore[arg-type]


@pytest.mark.parametrize("without", [0, 1, 3, 14])
def test_an_item_that_lies_in_the_pool_many_times_is_still_found(without: int) -> None:
    """Whole, less some words, or half of it; and once more in a piece."""
    item = prose(40, 1)
    leaked = " ".join(item.split()[: 40 - without])
    pool = [f"{prose(20, 10 + n)} {leaked} {prose(20, 100 + n)}" for n in range(25)] + [prose(60, 500)]
    assert [told is not None for told in met(pool, [item])] == [True] * 25 + [False]


def test_a_passage_that_items_share_is_found_where_it_leaks() -> None:
    passage = prose(60, 1)
    items = [f"{passage} {prose(15, 50 + n)}" for n in range(5)]
    pool = [f"{prose(20, 100 + n)} {passage} {prose(20, 200 + n)}" for n in range(30)]
    assert None not in met(pool, items)


def test_counts_add_up_over_shards() -> None:
    phrase, items = prose(20, 1), [prose(30, 2), prose(8, 3)]
    items[0] = f"{phrase} {items[0]}"
    pool = [f"{prose(9, n)} {phrase} {items[1] if n % 2 else ''}" for n in range(24)]
    step = Decontaminate()
    beside = step.table([[of(items)]])
    whole = step.count([of(pool)], beside)
    parts = [step.count([of(pool[first : first + 5])], beside) for first in range(0, 24, 5)]
    assert whole.tolist() == sum(parts).tolist() and whole.max() == 24  # type: ignore[attr-defined]


@pytest.mark.parametrize("kind", ["english", "chinese", "japanese", "short"])
def test_what_is_met_is_what_a_plain_search_meets(kind: str) -> None:
    """The gate and the few lengths lose nothing: any run of so many words that both have, found in Python."""
    draw = random.Random(4)
    letters = {"chinese": CHINESE[:30], "japanese": [*CHINESE[:10], *"のはをにがでと"]}.get(kind)

    def some(count: int) -> str:
        return "".join(draw.choices(letters, k=count)) if letters else " ".join(draw.choices(WORDS[:12], k=count))

    items = [some(10 if kind == "short" else draw.randint(8, 60)) for _ in range(12)]
    pool = [some(40) for _ in range(60)]
    for place in range(0, 60, 2):
        told = items[draw.randrange(12)]
        first = draw.randrange(max(1, len(told) // 2))
        piece = told if place % 4 == 0 else told[first : first + draw.randint(5, len(told))]
        pool[place] += " " + piece + " " + some(20)
    table = Decontaminate(common=None).table([[of(items)]])
    lengths = {int(item): int(length) for item, length in zip(table.items, table.lengths, strict=True)}
    spelt = [words(item) for item in items]
    runs = {
        tuple(spelt[item][first : first + length])
        for item, length in lengths.items()
        for first in range(len(spelt[item]) - length + 1)
    }
    wanted = []
    for text in pool:
        mine = words(text)
        wanted.append(any(tuple(mine[a : a + n]) in runs for n in set(lengths.values()) for a in range(len(mine))))
    assert [told is not None for told in met(pool, items, common=None)] == wanted
    assert any(wanted)


def test_settings_that_make_no_sense_are_refused() -> None:
    with pytest.raises(ValueError, match="common is a number of texts"):
        Decontaminate(common=0)

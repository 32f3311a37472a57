"""Near-duplicates of texts and vectors, balance over clusters, the user's own condition: against plain computations."""

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import xxhash
from hypothesis import given, settings
from hypothesis import strategies as st

from tamis.pipeline.columns.hashed import made, minhash_maker
from tamis.pipeline.errors import RecipeError
from tamis.pipeline.schemas import CAPTIONS
from tamis.pipeline.store.manifest import verify
from tamis.pipeline.store.runs import open_complete
from tamis.selectors import passes
from tamis.selectors.balance.clusters import ClusterBalance
from tamis.selectors.balance.hierarchy import quotas, tree, water_fill
from tamis.selectors.budget import Budget
from tamis.selectors.dedup.exact import ExactDedup
from tamis.selectors.dedup.near_images import NearDedupImages, within
from tamis.selectors.dedup.near_texts import NearDedup
from tamis.selectors.dedup.semantic import SemanticDedup
from tamis.selectors.texts import minhash
from tamis.selectors.texts.minhash import Sketch
from tamis.selectors.texts.words import ALL, Words, tables, words
from tamis.selectors.vectors.k_means import nearest
from tests_support import Runner, write_jsonl

P = (1 << 61) - 1


# ---------------------------------------------------------------- texts


def test_the_parameters_are_those_that_were_published() -> None:
    a, b = minhash.parameters(112)
    assert (len(a), int(a[0]), int(b[0])) == (112, 775169054918279404, 1062448801025099917)


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=200))
def test_the_hash_is_xxh64(data: bytes) -> None:
    from tamis.selectors.loops.shingles import xxh64

    assert int(xxh64(np.frombuffer(data + b"\0", np.uint8), 0, len(data))) == xxhash.xxh64_intdigest(data)


def plain_signature(text: str, sketch: Sketch) -> list[int] | None:
    """From the formula, in whole numbers of Python."""
    told, width = words(text, sketch.words), sketch.width
    if sketch.tokens == "characters":
        whole = " ".join(told)
        shingles = {whole[i : i + width] for i in range(len(whole) - width + 1)}
    else:
        shingles = {" ".join(told[i : i + width]) for i in range(len(told) - width + 1)}
    a, b = (part.tolist() for part in minhash.parameters(sketch.hashes))
    hashes = [xxhash.xxh64_intdigest(shingle.encode()) for shingle in shingles]
    return [min(((x * a[j] + b[j]) % 2**64) % P for x in hashes) for j in range(len(a))] if hashes else None


TEXTS = [
    "The quick brown fox jumps over the lazy dog, 3.14 times.", "one two three four", "one two three four five",
    "", "   \n\t", "Ä é ü ß the ſame wörds, ÀGAIN and again; again_and_again", "a " * 400, "!!! ???", "日本語 の 文 章 です か", "x" * 300 + " b c d e",
]  # fmt: skip


SKETCHES = [
    Sketch(), Sketch(tokens="published"), Sketch(tokens="characters", width=9), Sketch(width=1), Sketch(bands=3, rows=2),
]  # fmt: skip


@pytest.mark.parametrize("sketch", SKETCHES)
def test_signatures_are_the_formula_to_the_bit(sketch: Sketch) -> None:
    mine, shingled = minhash.hashes(TEXTS, sketch), minhash.signatures(pa.array(TEXTS), sketch).shingled
    for text, found, has in zip(TEXTS, mine, shingled, strict=True):
        wanted = plain_signature(text, sketch)
        assert bool(has) == (wanted is not None), text
        if wanted is not None:
            assert found.tolist() == wanted, text


@pytest.mark.parametrize(
    ("text", "published", "tamis"),
    [
        ("It's 1,000.50 Äpfel_and — v1.2.3, 12.", "it s 0 0 apfel and v0 0 0", "it s 1,000.50 apfel and v1.2.3 12"),
        ("ที่นี่ ๒๕๖๗.๕ปี", "ทน 0ป", "ที่ นี่ 2567.5 ปี"),
        ("第3章 がか\u3099x中文", "第0章 かかx中文", "第 3 章 か\u3099 か\u3099 x 中 文"),
        ("हिन्दी में", "हिनदी म", "हिन्दी में"),
        ("שָׁלוֹם مَرحبا Ёж", "שלום مرحبا еж", "שלום مرحبا еж"),
    ],
)
def test_words_keep_vowels_and_numbers_and_drop_accents(text: str, published: str, tamis: str) -> None:
    assert " ".join(words(text, "tamis")) == tamis
    assert " ".join(words(text, "published")) == published


def signed(texts: list[str], step: NearDedup | None = None) -> dict[str, Any]:
    """The column that near_dedup reads."""
    values = made(minhash_maker((step or NearDedup()).sketch), pa.record_batch({"text": pa.array(texts, pa.string())}))
    return dict(zip(("minhash_buckets", "minhash_low"), values, strict=True))


def of_texts(texts: list[str], keys: list[str] | None = None, **more: Any) -> pa.RecordBatch:
    ids = pa.array(np.arange(len(texts), dtype=np.uint64) * 7919 % 10_007)
    return pa.record_batch(
        {
            "sample_id": ids.cast(pa.uint64()),
            "text": texts,
            "n_bytes": pa.array([len(text) for text in texts], pa.int64()),
            "width": pa.nulls(len(texts), pa.int32()),
            **signed(texts),
            "key": keys or [f"k{n:03d}" for n in range(len(texts))],
            **more,
        }
    )


def kept_of(fitted: Any, batch: pa.RecordBatch) -> list[bool]:
    return (fitted.order_keys(batch, None)[0] < 0).tolist()


def words_of(*numbers: int) -> str:
    """A word of letters for each: digits would all become 0."""
    return " ".join("".join(chr(97 + int(digit)) for digit in str(n)) for n in numbers)


@pytest.mark.thorough
@pytest.mark.parametrize("form", ["exact", "fast"])
def test_recall_follows_the_curve(form: Any) -> None:
    """Pairs of known Jaccard index: found as often as 1 - (1 - J^8)^14 says, within 4 standard deviations."""
    chance = np.random.default_rng(0)
    for wanted in (0.5, 0.7, 0.8, 0.9):
        pairs, found, indices = 300, 0, []
        for _ in range(pairs):
            a = chance.integers(0, 1 << 40, 104).tolist()
            swaps = max(1, round(100 * (1 - wanted) / (1 + wanted) / 5))
            b = list(a)
            for place in chance.choice(np.arange(4, 100, 5), swaps, replace=False).tolist():
                b[place] = int(chance.integers(0, 1 << 40))
            one, two = ({tuple(x[i : i + 5]) for i in range(100)} for x in (a, b))
            indices.append(len(one & two) / len(one | two))
            texts = [words_of(*a), words_of(*b)]
            step = NearDedup(form=form, verify=False)
            batch = of_texts(texts, **signed(texts, step))
            found += kept_of(step.rank([batch], None), batch).count(False)
        likely = np.array([1 - (1 - j**8) ** 14 for j in indices])
        assert abs(found - likely.sum()) < 4 * np.sqrt((likely * (1 - likely)).sum()) + 1, wanted


def test_groups_are_chains_and_the_smallest_key_is_kept_whatever_the_order() -> None:
    base = list(range(400))
    texts = [
        words_of(*base),
        words_of(*base[:-2], 900, 901),
        words_of(*base[:-4], 900, 901, 902, 903),
        words_of(*range(1000, 1100)),
        "short text",
    ]
    batch = of_texts(texts, ["c", "a", "b", "d", "e"])
    for order in ([0, 1, 2, 3, 4], [4, 2, 0, 3, 1]):
        fitted = NearDedup().rank([batch.take(pa.array(order))], None)
        assert kept_of(fitted, batch) == [False, True, False, True, True]
        assert fitted.related_ids(batch)[0] == batch["sample_id"][1].as_py()
        assert fitted.details(batch)[0].startswith("Jaccard 0.9")
    assert (
        kept_of(NearDedup(keep="longest").rank([batch], None), batch)[2]
        or kept_of(NearDedup(keep="longest").rank([batch], None), batch)[1]
    )
    scored = of_texts(texts, ["c", "a", "b", "d", "e"], s=[5.0, float("nan"), 1.0, 0.0, 0.0])
    assert kept_of(NearDedup(keep="s").rank([scored], None), scored) == [True, False, False, True, True]
    assert kept_of(NearDedup().rank([batch.slice(0, 0)], None), batch.slice(0, 0)) == []
    with pytest.raises(ValueError, match="holds no numbers"):
        NearDedup(keep="text").rank([batch], None)


def pages(count: int, own: int, common: int) -> list[str]:
    """Of one form: so many words of each one's own, and so many that all have."""
    form = words_of(*range(10_000, 10_000 + common))
    return [words_of(*range(100_000 + n * own, 100_000 + (n + 1) * own)) + " " + form for n in range(count)]


def shingle_sets_of(text: str, width: int = 5) -> set[str]:
    told = words(text)
    return {" ".join(told[i : i + width]) for i in range(len(told) - width + 1)}


def test_pages_of_one_form_are_not_one_and_what_is_dropped_is_near_to_what_is_kept() -> None:
    """Their index is 0.55: a chain of meetings leads through all of them, and none is near to another."""
    draw = np.random.default_rng(0)
    texts = pages(400, 40, 110)
    for n in range(0, 400, 10):  # and some with a few words changed
        told = texts[n].split()
        for place in draw.choice(len(told), int(draw.integers(1, 6)), replace=False).tolist():
            told[place] = words_of(int(draw.integers(1 << 40)))
        texts.append(" ".join(told))
    batch = of_texts(texts)
    sets = [shingle_sets_of(text) for text in texts]
    place = {int(i): n for n, i in enumerate(batch["sample_id"].to_pylist())}
    published = NearDedup(verify=False).rank([batch], None)
    assert kept_of(published, batch).count(False) > 200
    fitted = NearDedup().rank([batch], None)
    kept = kept_of(fitted, batch)
    dropped = [n for n, stays in enumerate(kept) if not stays]
    assert len(dropped) > 10 and min(dropped) >= 400, "the original's key is the smaller one"
    for n in dropped:
        by = place[int(fitted.related_ids(batch)[n])]
        index = len(sets[n] & sets[by]) / len(sets[n] | sets[by])
        assert kept[by] and index >= 14 ** (-1 / 8) and fitted.score(batch)[n] == pytest.approx(index, abs=1e-9)
    near = [
        n for n in range(400, len(texts)) if (a := sets[n], b := sets[(n - 400) * 10]) and len(a & b) / len(a | b) > 0.9
    ]
    assert set(near) <= set(dropped)


def test_copies_of_a_page_are_found_among_any_number_of_its_form() -> None:
    """More pages share each band than a text is compared with; copies share them all."""
    texts = pages(600, 3, 200)
    batch = of_texts([*texts, *texts[:100]])
    kept = kept_of(NearDedup(similarity=0.98).rank([batch], None), batch)
    assert all(kept[:600]) and not any(kept[600:])


def test_a_chain_ends_where_its_ends_are_no_longer_near() -> None:
    base = list(range(1000, 1300))
    texts = [words_of(*base[: 300 - 30 * n], *range(5000 + 100 * n, 5000 + 100 * n + 30 * n)) for n in range(6)]
    batch = of_texts(texts)
    sets = [shingle_sets_of(text) for text in texts]
    kept = kept_of(NearDedup(similarity=0.6).rank([batch], None), batch)
    for n, stays in enumerate(kept):
        nearest = max((len(sets[n] & sets[m]) / len(sets[n] | sets[m]) for m in range(n) if kept[m]), default=0)
        assert stays == (nearest < 0.6), n
    assert kept_of(NearDedup(similarity=1.0).rank([batch], None), batch).count(False) == 0


def test_tables_of_other_numbers_and_thai_words_of_other_vowels_are_other_texts() -> None:
    rows = np.random.default_rng(1).integers(0, 1000, (20, 60)).tolist()
    tables_ = ["Rainfall at the station by year " + " ".join(map(str, row)) for row in rows]
    batch = of_texts([*tables_, tables_[3] + "!"])
    assert kept_of(NearDedup().rank([batch], None), batch).count(False) == 1
    published = NearDedup(tokens="published", verify=False)
    batch = of_texts(tables_, **signed(tables_, published))
    assert kept_of(published.rank([batch], None), batch).count(True) == 1, "as published: every number is 0"
    thai = ["กาน ขาน คาน งาน จาน ชาน ซาน", "กัน ขัน คัน งัน จัน ชัน ซัน"]
    assert kept_of(NearDedup().rank([of_texts(thai)], None), of_texts(thai)) == [True, True]


def test_texts_without_spaces_are_compared_by_letter_and_short_ones_told_of() -> None:
    chinese = "今天天气很好，我们一起去公园散步，看见了很多花。"
    texts = [chinese, chinese.replace("，", " "), chinese.replace("公园", "山上"), "一二三", "two words"]
    batch = of_texts(texts)
    fitted = NearDedup().rank([batch], None)
    assert kept_of(fitted, batch) == [True, False, True, True, True]
    assert fitted.facts["not_compared"] == 2 and "fewer than 5 words" in fitted.facts["said"][1]
    characters = NearDedup(tokens="characters", width=4, similarity=0.4, bands=56, rows=2)
    batch = of_texts(texts, **signed(texts, characters))
    assert kept_of(characters.rank([batch], None), batch)[:3] == [True, False, False]


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"similarity": 1.2}, "Jaccard index above 0"),
        ({"similarity": 0.8, "verify": False}, "leave one of the two out"),
        ({"width": 101}, "width is 1 to 100 words"),
        ({"width": 0}, "width is 1 to 100 words"),
        ({"bands": 100, "rows": 20}, "must be 1 to 1024"),
    ],
)
def test_settings_of_signatures_that_make_no_sense_are_refused(given: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        NearDedup(**given)


def test_more_bands_find_less_alike_pairs() -> None:
    base = list(range(3000, 3200))
    texts = [words_of(*base), words_of(*base[:100], *range(9000, 9100))]  # an index of a third
    sure = NearDedup(bands=100, rows=2, similarity=0.3)
    batch = of_texts(texts, **signed(texts, sure))
    assert kept_of(sure.rank([batch], None), batch) == [True, False]
    assert kept_of(NearDedup(similarity=0.3).rank([of_texts(texts)], None), of_texts(texts)) == [True, True]


def test_what_is_near_to_another_set_is_dropped_and_named(run_in: Runner, workplace: Path) -> None:
    text = words_of(*range(70, 130))
    write_jsonl(workplace / "pool.jsonl", [{"id": "a", "text": text}, {"id": "b", "text": words_of(*range(500, 560))}])
    write_jsonl(workplace / "seen.jsonl", [{"id": "a", "text": text + " more"}])
    source = {"format": "jsonl", "key": "id"}
    asked = {"pool": [{**source, "path": "pool.jsonl"}], "emit": [], "target": []}
    seen = [{**source, "path": "seen.jsonl"}]
    run = open_complete(
        run_in(
            workplace, name="beside", evaluation=seen, **asked, steps=[{"near_dedup": {"beside": "evaluation"}}]
        ).folder
    )
    assert pq.read_table(run.folder / "selection.parquet")["key"].to_pylist() == ["b"]
    rows = pq.read_table(run.folder / "ledger" / "step-00").to_pylist()
    (dropped,) = [row for row in rows if not row["kept"]]
    assert dropped["reason"] == "near_duplicate" and dropped["detail"] == "Jaccard 0.98 to a of the evaluation"
    with pytest.raises(RecipeError, match="evaluation"):
        run_in(workplace, name="none", **asked, steps=[{"near_dedup": {"beside": "evaluation"}}])
    second = run_in(
        workplace,
        name="like",
        **{**asked, "target": seen},
        steps=[{"near_dedup": {"beside": "target", "keep": "longest"}}],
    )
    assert pq.read_table(second.folder / "selection.parquet")["key"].to_pylist() == ["b"]


def test_no_image_is_dropped_beyond_the_distance_by_a_chain() -> None:
    codes = np.array([0b0, 0b1111, 0b11111111, 1 << 40], np.uint64)
    bits_ = np.unpackbits(codes[:, None].view(np.uint8), axis=1).reshape(4, 64)
    vectors = np.where(bits_ > 0, 1, -1).astype(np.float32) / 8
    batch = pa.record_batch(
        {
            "sample_id": pa.array(np.arange(4, dtype=np.uint64)),
            "key": ["a", "b", "c", "d"],
            "seen": pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), 64),
        }
    )
    fitted = NearDedupImages(column="seen", distance=4).rank([batch], None)
    assert kept_of(fitted, batch) == [True, False, True, False] and fitted.facts["least_alike"] == 4


@pytest.mark.parametrize("distance", [0, 1, 4, 8])
def test_hashes_within_some_bits_are_all_found(distance: int) -> None:
    draw = np.random.default_rng(distance)
    codes = draw.integers(0, 1 << 63, 60, dtype=np.uint64).repeat(5)
    for place in range(300):  # some bits flipped, in some
        for bit in draw.choice(64, draw.integers(0, 6), replace=False).tolist():
            codes[place] ^= np.uint64(1 << bit)
    there = draw.random(300) < 0.95
    near = np.bitwise_count(codes[:, None] ^ codes[None]) <= distance
    wanted = np.arange(300)
    for place in range(300):
        for other in range(place):
            if there[place] and there[other] and near[place, other]:
                wanted[wanted == max(wanted[place], wanted[other])] = min(wanted[place], wanted[other])
    assert np.array_equal(within(there, codes, distance), wanted)


# ---------------------------------------------------------------- vectors


def of_vectors(vectors: Any, keys: list[str] | None = None, **more: Any) -> pa.RecordBatch:
    whole = np.asarray(vectors, np.float32)
    halves = pa.FixedSizeListArray.from_arrays(pa.array(whole.astype(np.float16).ravel()), whole.shape[1])
    there = np.isfinite(whole).all(1) & (np.abs(whole).sum(1) > 0)
    column = pa.array([v if ok else None for v, ok in zip(halves.to_pylist(), there, strict=True)], halves.type)
    ids = (np.arange(len(whole), dtype=np.uint64) * 7919) % 100_003
    return pa.record_batch(
        {"sample_id": ids, "v": column, "key": keys or [f"k{n:05d}" for n in range(len(whole))], **more}
    )


def groups_of_vectors(count: int, dim: int = 16, seed: int = 0) -> Any:
    """Unit vectors around some centres, with neighbours of all distances."""
    draw = np.random.default_rng(seed)
    centres = draw.normal(size=(count // 8, dim))
    vectors = (
        centres[draw.integers(0, len(centres), count)]
        + draw.normal(size=(count, dim)) * draw.choice([0.05, 0.2, 0.5], count)[:, None]
    )
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def brute(vectors: Any, order: Any, limit: float, mode: str) -> set[int]:
    """Kept places, one by one."""
    whole = np.asarray(np.asarray(vectors, np.float16), np.float32)
    whole /= np.linalg.norm(whole, axis=1, keepdims=True)
    near = whole @ whole.T >= limit - 1e-6
    kept: list[int] = []
    seen: list[int] = []
    parts = {place: {place} for place in order}
    for place in order:
        if mode == "components":
            for other in seen:
                if near[place, other] and parts[other] is not parts[place]:
                    whole_part = parts[other] | parts[place]
                    for member in whole_part:
                        parts[member] = whole_part
        elif not any(near[place, other] for other in (kept if mode == "greedy" else seen)):
            kept.append(place)
        seen.append(place)
    if mode == "components":
        first = {place: n for n, place in enumerate(order)}
        return {place for place in order if min(parts[place], key=first.__getitem__) == place}
    return set(kept)


@pytest.mark.parametrize("mode", ["greedy", "earlier", "components"])
def test_equal_to_brute_force(mode: Any) -> None:
    vectors = groups_of_vectors(3000)
    batch = of_vectors(vectors)
    fitted = SemanticDedup(column="v", similarity=0.95, mode=mode, clusters=1).rank([batch], None)
    kept = {place for place, ok in enumerate(kept_of(fitted, batch)) if ok}
    assert kept == brute(vectors, range(3000), 0.95, mode) and 200 < len(kept) < 2900
    related, ids = fitted.related_ids(batch), batch["sample_id"].to_numpy()
    where = {int(one): place for place, one in enumerate(ids)}
    whole = np.asarray(np.asarray(vectors, np.float16), np.float32)
    whole /= np.linalg.norm(whole, axis=1, keepdims=True)
    standing = sorted(kept)
    for place in sorted(set(range(3000)) - kept)[:200]:
        cosines = whole[standing] @ whole[place]
        assert where[int(related[place])] in kept and cosines.max() == pytest.approx(
            float(whole[where[int(related[place])]] @ whole[place]), abs=1e-5
        )


def test_modes_drop_more_and_more_and_more_clusters_find_less() -> None:
    batch = of_vectors(groups_of_vectors(3000, seed=3))
    dropped = [
        kept_of(SemanticDedup(column="v", similarity=0.9, mode=mode, clusters=1).rank([batch], None), batch).count(
            False
        )
        for mode in ("greedy", "earlier", "components")
    ]  # type: ignore[arg-type]
    assert dropped[0] <= dropped[1] <= dropped[2] and dropped[0] < dropped[2]
    apart = kept_of(SemanticDedup(column="v", similarity=0.9, clusters=40).rank([batch], None), batch).count(False)
    assert 0 < apart <= dropped[0]


@pytest.mark.parametrize(
    ("keep", "first"), [("first", 2), ("s", 1), ("random", None), ("hardest", None), ("easiest", None)]
)
def test_which_of_a_group_is_kept(keep: str, first: int | None) -> None:
    batch = of_vectors([[1, 0], [1, 0], [1, 0], [0, 1]], ["c", "b", "a", "d"], s=[0.0, 9.0, 1.0, 5.0])
    kept = kept_of(SemanticDedup(column="v", similarity=0.99, clusters=1, keep=keep).rank([batch], None), batch)
    assert kept.count(True) == 2 and kept[3]
    if first is not None:
        assert kept[first]


def test_edges_of_vectors() -> None:
    nan = float("nan")
    batch = of_vectors([[0, 0], [nan, 1], [1, 0], [1, 0]])
    fitted = SemanticDedup(column="v", similarity=1.0).rank([batch], None)
    assert kept_of(fitted, batch) == [True, True, True, False], "what has no vector is kept"
    assert fitted.facts["without_vector"] == 2
    one = of_vectors([[1, 0]])
    assert kept_of(SemanticDedup(column="v", similarity=0.5, clusters=50).rank([one], None), one) == [True]
    assert SemanticDedup(column="v", similarity=0.5).rank([], None).candidates == 0
    for wrong in ({"similarity": 1.5}, {"similarity": 0.5, "clusters": 0}):
        with pytest.raises(ValueError, match=r"cosine|clusters"):
            SemanticDedup(column="v", **wrong)


@pytest.mark.parametrize("mode", ["greedy", "earlier", "components"])
@pytest.mark.parametrize("share", [0.9, 0.6, 0.3])
def test_a_similarity_is_found_that_keeps_a_share(mode: Any, share: float) -> None:
    batch = of_vectors(groups_of_vectors(3000, seed=4))
    fitted = SemanticDedup(column="v", keep_share=share, mode=mode, clusters=3).rank([batch], None)
    kept = kept_of(fitted, batch)
    assert abs(sum(kept) / 3000 - share) < (0.05 if mode == "components" else 0.01)
    again = SemanticDedup(column="v", similarity=fitted.facts["similarity"], mode=mode, clusters=3).rank([batch], None)
    assert abs(sum(kept_of(again, batch)) - sum(kept)) <= 3
    everything = SemanticDedup(column="v", keep_share=1.0, mode=mode).rank([batch], None)
    assert all(kept_of(everything, batch))
    for wrong in ({}, {"similarity": 0.9, "keep_share": 0.5}, {"keep_share": 0.0}):
        with pytest.raises(ValueError, match="share"):
            SemanticDedup(column="v", **wrong)


def test_few_vectors_are_held_at_once_and_nothing_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Clusters brought one by one, rows in another order and cut into batches otherwise."""
    batch = of_vectors(groups_of_vectors(3000, seed=5))
    step = SemanticDedup(column="v", similarity=0.93, keep="hardest", clusters=12)
    whole = step.rank([batch], None)
    monkeypatch.setattr(passes, "HELD_BYTES", 4000)
    order = np.random.default_rng(0).permutation(3000)
    pieces = [batch.take(pa.array(order[first : first + 170])) for first in range(0, 3000, 170)]
    again = step.rank(pieces, None)
    assert kept_of(whole, batch) == kept_of(again, batch) and kept_of(whole, batch).count(False) > 0
    assert np.array_equal(whole.related_ids(batch), again.related_ids(batch))
    assert np.array_equal(whole.score(batch), again.score(batch), equal_nan=True)


def test_another_threshold_and_rule_use_the_same_table(run_in: Runner, tmp_path: Path) -> None:
    vectors = groups_of_vectors(400, seed=6)
    write_jsonl(tmp_path / "pool.jsonl", [{"id": f"k{n:03d}", "text": f"text {n}"} for n in range(400)])
    np.savez(tmp_path / "v.npz", key=np.array([f"k{n:03d}" for n in range(400)]), vector=vectors.astype(np.float16))
    asked: dict[str, Any] = {
        "pool": [{"format": "jsonl", "path": "pool.jsonl", "key": "id"}],
        "target": [], "columns": {"v": {"embed": "precomputed", "path": "v.npz"}}, "emit": [],
    }  # fmt: skip
    dropped, written = [], set()
    for name, more in (("a", {}), ("b", {"similarity": 0.8}), ("c", {"mode": "components"})):
        step = {"semantic_dedup": {"column": "v", "similarity": 0.9, "clusters": 2, **more}}
        run = run_in(tmp_path, name=name, steps=[step], **asked)
        assert verify(open_complete(run.folder)) == []
        dropped.append(run.manifest["steps"][0]["dropped"])
        tables = (run.folder.parent.parent / "models").glob("*/prepared.npz")
        written |= {(str(table), table.stat().st_mtime_ns) for table in tables}
    assert len(written) == 1 and 0 < dropped[0] < dropped[1] and dropped[0] <= dropped[2]


def test_what_was_chosen_earlier_stays_and_keeps_its_neighbours_out() -> None:
    """Two that are near each other were chosen before: both stand, for all that come."""
    angles = np.deg2rad([0.0, 15.0, 30.0])
    batch = of_vectors(np.stack([np.cos(angles), np.sin(angles)], 1), labels=pa.array(["", "", None], pa.string()))
    for mode in ("greedy", "earlier", "components"):
        step = SemanticDedup(column="v", similarity=float(np.cos(np.deg2rad(16))), clusters=1, mode=mode)  # type: ignore[arg-type]
        assert not kept_of(step.rank([batch], None), batch)[2]


def test_a_key_of_two_namespaces_is_told_apart_by_id_whatever_the_order() -> None:
    batch = of_texts([words_of(*range(60)), words_of(*range(59), 900)], ["same", "same"])
    told = [NearDedup().rank([batch.take(pa.array(order))], None) for order in ([0, 1], [1, 0])]
    assert kept_of(told[0], batch) == kept_of(told[1], batch) and kept_of(told[0], batch).count(True) == 1


@pytest.mark.parametrize("keep", ["first", "longest"])
def test_few_signatures_are_held_at_once_and_nothing_changes(keep: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A bucket at a time, some groups at a time, rows in another order and cut into batches otherwise."""
    draw = np.random.default_rng(3)
    texts = []
    for _ in range(40):
        base = draw.integers(0, 1 << 40, 80).tolist()
        texts += [words_of(*base[: 80 - cut]) for cut in range(int(draw.integers(1, 9)))]
    batch = of_texts(texts, [f"k{n}" for n in draw.permutation(len(texts)).tolist()])
    whole = NearDedup(keep=keep).rank([batch], None)
    monkeypatch.setattr(passes, "HELD_BYTES", 2000)
    order = draw.permutation(len(texts))
    pieces = [batch.take(pa.array(order[first : first + 13])) for first in range(0, len(texts), 13)]
    again = NearDedup(keep=keep).rank(pieces, None)
    assert kept_of(whole, batch) == kept_of(again, batch) and kept_of(whole, batch).count(True) == 40
    assert np.array_equal(whole.related_ids(batch), again.related_ids(batch))
    assert whole.details(batch) == again.details(batch) and whole.facts == again.facts


# ---------------------------------------------------------------- balance


@settings(max_examples=80, deadline=None)
@given(st.lists(st.integers(0, 50), min_size=1, max_size=30), st.integers(0, 2000))
def test_water_filling_sums_to_the_budget_and_is_level(sizes: list[int], budget: int) -> None:
    given_ = np.array(sizes)
    quotas = water_fill(given_, budget, np.random.default_rng(0).random(len(sizes)))
    assert quotas.sum() == min(budget, given_.sum()) and (quotas <= given_).all() and (quotas >= 0).all()
    cut = quotas[quotas < given_]
    assert not len(cut) or (quotas.max() - cut.min() <= 1)


def test_rare_clusters_are_kept_whole() -> None:
    draw = np.random.default_rng(1)
    sizes = [900, 90, 10]
    corners = np.eye(3)
    vectors = np.concatenate([corners[kind] + draw.normal(size=(size, 3)) * 0.02 for kind, size in enumerate(sizes)])
    batch = of_vectors(vectors)
    for pick in ("random", "nearest"):
        fitted = ClusterBalance(column="v", clusters=3, pick=pick).rank([batch], Budget(60))  # type: ignore[arg-type]
        kept = kept_of(fitted, batch)
        kinds = Counter(np.repeat([0, 1, 2], sizes)[np.array(kept)].tolist())
        assert kinds == {0: 25, 1: 25, 2: 10}
    assert sum(kept_of(ClusterBalance(column="v", clusters=3).rank([batch], Budget(5000)), batch)) == 1000
    with pytest.raises(ValueError, match="is of rows"):
        ClusterBalance(column="v", clusters=3).rank([batch], Budget(5, "bytes"))


def test_a_tree_is_flatter_than_flat_clusters_and_those_than_chance() -> None:
    """A mixture of 90, 9 and 1%: shares of the three kinds among 300 of 10,000, and how far from a third they are."""
    draw = np.random.default_rng(3)
    sizes = [9000, 900, 100]
    angles = np.concatenate([draw.normal(at, 0.12, size) for at, size in zip((0.0, 2.1, 4.2), sizes, strict=True)])
    batch = of_vectors(np.stack([np.cos(angles), np.sin(angles)], 1))
    kinds = np.repeat([0, 1, 2], sizes)
    apart = []
    for clusters in ([300, 30, 3], [30]):
        fitted = ClusterBalance(column="v", clusters=clusters).rank([batch], Budget(300))
        kept = np.array(kept_of(fitted, batch))
        assert kept.sum() == 300
        apart.append(float(np.abs(np.bincount(kinds[kept], minlength=3) / 300 - 1 / 3).sum()))
    by_chance = float(np.abs(np.array(sizes) / 10_000 - 1 / 3).sum())
    assert apart[0] < 0.15 and apart[0] < apart[1] < by_chance


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 400), st.integers(1, 300))
def test_quotas_down_a_tree_sum_to_the_budget_and_no_child_gives_more_than_it_has(budget: int, count: int) -> None:
    vectors = np.random.default_rng(count).normal(size=(count, 3)).astype(np.float32)
    centres, above = tree(vectors, [20, 5, 2], 0)
    sizes = np.bincount(nearest(vectors, centres)[0], minlength=len(centres))
    told = quotas(sizes, above, budget, 0, 0)
    assert told.sum() == min(budget, count) and (told <= sizes).all() and (told >= 0).all()
    assert [len(below) for below in above] == [len(centres), int(above[0].max()) + 1]
    with pytest.raises(ValueError, match="fewer from level to level"):
        ClusterBalance(column="v", clusters=[10, 10])


@pytest.mark.thorough
@pytest.mark.parametrize("clusters", [40, [300, 30, 3]])
def test_centres_are_learned_from_some_and_all_are_balanced_whatever_the_order(clusters: Any) -> None:
    """30,000 vectors, of which 4,096 or 19,200 teach."""
    draw = np.random.default_rng(8)
    batch = of_vectors(draw.normal(size=(30_000, 4)))
    whole = ClusterBalance(column="v", clusters=clusters).rank([batch], Budget(1000))
    order = draw.permutation(30_000)
    pieces = [batch.take(pa.array(order[first : first + 1700])) for first in range(0, 30_000, 1700)]
    again = ClusterBalance(column="v", clusters=clusters).rank(pieces, Budget(1000))
    assert kept_of(whole, batch) == kept_of(again, batch) and kept_of(whole, batch).count(True) == 1000
    assert whole.facts == again.facts and whole.facts["clusters"] == np.atleast_1d(clusters)[0]


@pytest.mark.parametrize("clusters", [1, 8, [8, 3]])
def test_edges_of_balance(clusters: Any) -> None:
    """Identical vectors, fewer rows than clusters, no vector, none at all."""
    nan = float("nan")
    step = ClusterBalance(column="v", clusters=clusters)
    same = of_vectors([[1, 0]] * 30)
    assert kept_of(step.rank([same], Budget(7)), same).count(True) == 7
    few = of_vectors([[1, 0], [0, 1], [nan, 0], [0, 0]])
    fitted = step.rank([few], Budget(4))
    assert kept_of(fitted, few) == [True, True, False, False] and fitted.barred(few)[2] == "not_scorable"
    assert kept_of(step.rank([few.slice(2)], Budget(2)), few.slice(2)) == [False, False]
    assert len(step.rank([], Budget(1)).ids) == 0


# ---------------------------------------------------------------- whole runs


def test_the_steps_run_as_written(run_in: Runner, photos: Path, tmp_path: Path) -> None:
    steps = [
        {"semantic_dedup": {"column": "look", "similarity": 0.95, "mode": "greedy", "clusters": 1, "keep": "first"}},
        {"near_dedup": {}},
        {"sql": {"where": "width >= 100 and label <> 'BACKGROUND_Google'"}},
        {"cluster_balance": {"column": "look", "clusters": 20, "budget": 300}},
    ]
    asked: dict[str, Any] = {
        "pool": [{"format": "images", "path": "photos", "keep": ["label"]}], "target": [], "columns": {"look": {"embed": "classic"}}, "emit": ["keys"],
    }  # fmt: skip
    for picture in photos.rglob("*.*g"):
        picture.with_suffix(".json").write_text(f'{{"label": "{picture.parent.name}"}}')
    run = run_in(tmp_path, name="run", steps=steps, **asked)
    assert verify(open_complete(run.folder)) == []
    told = run.manifest["steps"]
    assert told[0]["reasons"]["near_duplicate"] > 0 and told[1]["dropped"] == 0
    assert told[2]["reasons"]["condition_not_met"] >= 35, "the digits are narrow"
    assert run.selected == told[2]["kept"] > 20


def test_conditions_drop_what_they_do_not_hold_for(run_in: Runner, workplace: Path) -> None:
    rows = [{"id": f"k{n}", "text": f"text {n}", "size": n if n % 5 else None} for n in range(20)]
    write_jsonl(workplace / "pool.jsonl", rows)
    pool = [{"format": "jsonl", "path": "pool.jsonl", "key": "id", "keep": ["size"]}]
    run = run_in(workplace, pool=pool, target=[], steps=[{"sql": {"where": "size >= 10"}}])
    keys = pq.read_table(run.folder / "selection.parquet")["key"].to_pylist()
    assert set(keys) == {f"k{n}" for n in range(10, 20) if n % 5}, "null is not met"
    for wrong, told in (
        ({}, "where: missing"),
        ({"where": "1 = 1", "budget": 3}, "takes no budget"),
        ({"where": "nothing = 1"}, "nothing"),
    ):
        with pytest.raises(Exception, match=told):
            run_in(workplace, name="wrong", pool=pool, target=[], steps=[{"sql": wrong}])
    with pytest.raises(RecipeError, match="takes no budget"):
        run_in(workplace, name="wrong", pool=pool, target=[], steps=[{"near_dedup": {"budget": 3}}])


def test_what_was_kept_earlier_is_not_kept_again_in_other_words(run_in: Runner, workplace: Path) -> None:
    (workplace / "new").mkdir()
    long = words_of(*range(300))
    write_jsonl(workplace / "new" / "a.jsonl", [{"id": "z", "text": long}])
    asked: dict[str, Any] = {
        "pool": [{"format": "jsonl", "path": "new/*.jsonl", "key": "id"}],
        "target": [],
        "against": "kept",
        "steps": [{"near_dedup": {}}],
    }
    run_in(workplace, name="first", **asked)
    write_jsonl(
        workplace / "new" / "b.jsonl",
        [{"id": "a", "text": long + " more"}, {"id": "b", "text": words_of(*range(900, 1300))}],
    )
    second = run_in(workplace, name="second", **asked)
    assert pq.read_table(second.folder / "selection.parquet")["key"].to_pylist() == ["b"]


ANY_TEXT = st.text(max_size=60) | st.text(st.sampled_from("a1é,.中か\u3099ー ที่\u0301हि한٣_"), max_size=30)


@settings(max_examples=400, deadline=None)
@given(
    ANY_TEXT,
    st.sampled_from(["", "1,000.5 ", "Σοφός ", "e\u0301 ", "한국어 ", "İ \U0001d7d8 "]),
    st.sampled_from(["tamis", "published"]),
)
def test_the_compiled_words_are_the_plain_ones(text: str, more: str, kind: Words) -> None:
    from tamis.selectors.loops.shingles import GROWS, normalised

    data, ends = minhash.raw(pa.array([text + more]))
    room = np.zeros(GROWS * len(data) + 1, np.uint8)
    size = normalised(data, 0, ends[1], *tables(ALL, kind), room)
    assert bytes(room[:size]).decode() == " ".join(words(text + more, kind))


def test_one_image_under_several_captions_is_several_samples_and_one_image() -> None:
    captions = [["a cat"], ["a cat"], ["a dog"], ["a cat", "sat"], ["a cat\0sat"], [], None]
    batch = pa.record_batch(
        {
            "content_hash": pa.array([b"x" * 16] * 7, pa.binary(16)),
            "key": [str(n) for n in range(7)],
            "captions": pa.array(
                [None if some is None else [{"text": text, "source": "txt"} for text in some] for some in captions],
                CAPTIONS,
            ),
        }
    )
    groups = ExactDedup().groups(batch).to_pylist()
    assert groups[0] == groups[1] and len(set(groups)) == 4, "none and no captions are the image alone"
    assert ExactDedup().groups(batch.slice(3)).to_pylist() == groups[3:], "of a part that lies elsewhere, too"
    assert "captions" not in ExactDedup(of="image").inputs().optional
    texts = batch.set_column(2, "captions", pa.nulls(7, CAPTIONS))
    assert ExactDedup().groups(texts).equals(texts["content_hash"])


@pytest.mark.parametrize("mode", ["earlier", "greedy", "components"])
@pytest.mark.parametrize("times", [1, 2, 3])
def test_a_share_is_kept_though_every_vector_stands_several_times(mode: Any, times: int) -> None:
    vectors = np.repeat(np.random.default_rng(0).normal(size=(200, 16)), times, 0)
    batch = of_vectors(vectors)
    for share in (0.3, 0.6, 0.8, 0.95, 1.0):
        found = SemanticDedup(column="v", keep_share=share, mode=mode, clusters=2).rank([batch], None)
        assert abs((found.ranks > 0).mean() - share) < 0.01, share
        dropped = found.ranks == 0
        assert np.isin(found.related[dropped], found.ids[~dropped]).all() and np.isfinite(found.values[dropped]).all()

"""What every selector of the catalog must hold, tried through a real store; a user's own selector meets the same suite.

The claims and the small pool are the package's (pipeline/conformance), so that `tamis check-selector` tries the same."""

import textwrap
from pathlib import Path
from typing import Any

import pytest

from tamis.pipeline.conformance.bench import Bench, Case
from tamis.pipeline.conformance.check import check_selector, lines
from tamis.pipeline.conformance.claims import CLAIMS
from tamis.pipeline.errors import RecipeError
from tamis.selectors.catalog import SELECTORS

OWN = textwrap.dedent(
    '''
    """A user's own selector: the longest texts first."""
    from dataclasses import dataclass

    import numpy as np
    import pyarrow.compute as pc


    @dataclass(frozen=True, kw_only=True)
    class Longest:
        """Prefer long texts, up to a length that is enough."""

        enough: int = 1000

        def fit(self, pool, targets):
            return self

        def score(self, batch):
            return np.minimum(pc.utf8_length(batch["text"]).to_numpy(), self.enough).astype(float)
    '''
)
CASES: dict[str, dict[str, Any]] = {
    "active": {"column": "v", "budget": 20},
    "active facility": {"column": "v", "acquire": "facility_location", "budget": 20},
    "cluster_balance": {"column": "v", "clusters": 5, "budget": 20},
    "cluster_balance tree": {"column": "v", "clusters": [12, 3], "budget": 20},
    "near_dedup": {},
    "semantic_dedup": {"column": "v", "similarity": 0.95, "clusters": 2},
    "semantic_dedup earlier": {"column": "v", "similarity": 0.9, "clusters": 1, "mode": "earlier", "keep": "hardest"},
    "semantic_dedup components": {"column": "v", "similarity": 0.9, "clusters": 1, "mode": "components"},
    "text_quality": {"apply": ["fineweb"]},
    "sql": {"where": "part <> 'b'"},
    "clip_score": {"image": "v", "text": "w", "budget": 20},
    "clip_score column": {"column": "v_prior", "at_least": 5.0},
    "clip_score ties": {"column": "v_prior", "ties": "include", "budget": 20},
    "decontaminate": {"ngram": 5, "least": 3},
    "decontaminate column": {"column": "v", "similarity": 0.5},
    "image_quality": {"column": "photo", "sharpness": 3000.0},
    "language": {"column": "sure", "keep": ["p"], "above": 0.5},
    "near_dedup column": {"column": "seen", "distance": 8},
    "near_dedup fast": {"form": "fast", "keep": "longest"},
    "neg_clip_loss": {"image": "v", "text": "w", "temperature": 0.07, "batch": 30, "partitions": 2, "budget": 20},
    "norm_sim": {"column": "v", "p": 2, "budget": 20},
    "norm_sim nearest": {"column": "v", "p": "inf", "budget": 20},
    "target_clusters": {"column": "v", "clusters": 6},
    "text_quality column": {"apply": ["gopher"], "column": "read", "limits": {"gopher_word_count": [8, None]}},
    "class_round_robin": {"column": "objects", "budget": 20},
    "detection_entropy": {"column": "objects", "budget": 20},
    "k_center": {"column": "v", "budget": 20},
    "combine": {"scores": ["-v_prior", "v_conditional"], "budget": 20},
    "combine max": {"scores": ["-v_prior", "v_conditional"], "by": "max", "budget": 20},
    "combine z": {"scores": ["-v_prior", "v_conditional"], "by": "z", "weights": [2, 1], "budget": 20},
    "target_coverage": {"column": "v", "budget": 20},
    "target_coverage each": {"column": "v", "each": 3, "budget": 20},
    "benchmark_ranking": {"column": "v", "budget": 20},
    "benchmark_ranking mean": {"column": "v", "by": "mean", "budget": 20},
    "tsds": {"column": "v", "budget": 20},
    "object_coverage": {"column": "objects", "budget": 20},
    "object_coverage negatives": {"column": "objects", "pick": "confident", "negatives": 0.2, "budget": 20},
    "typical_clusters": {"column": "v", "budget": 20},
    "exact_dedup": {},
    "importance_resampling": {"budget": 20},
    "importance_resampling codes": {"features": "v", "budget": 20},
    "importance_resampling logistic": {"features": "v", "ratio": "logistic", "budget": 20},
    "importance_resampling published": {"form": "published", "min_length": 5, "budget": 20},
    "label_errors": {"column": "v", "budget": 4},
    "loss_reduction": {"prior": "v_prior", "conditional": "v_conditional", "budget": 20},
    "ood": {"column": "v", "budget": 20},
    "perplexity": {"column": "v_prior", "keep": "low", "budget": 20},
    "perplexity middle": {"column": "v_prior", "keep": "middle", "budget": 20},
    "quota": {"by": "part", "shares": {"a": 2, "b": 1}, "budget": 18},
    "random": {"budget": 20},
    "sensitivity": {"column": "v", "budget": 20},
    "sensitivity sums": {"column": "v", "power": 1, "budget": 20},
    "set_selection": {"budget": 20},
    "set_selection few": {"ngrams": 2, "candidates": 1.5, "budget": 20},
    "self_paced": {"column": "v", "budget": 20},
    "source_budgets": {"column": "v", "by": "part", "floor": 2, "budget": 20},
    "threshold": {"column": "v_prior", "budget": 20},
    "own.py:Longest": {"budget": 20},
}


def case_of(name: str) -> Case:
    return Case(name.split(maxsplit=1)[0], CASES[name])


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return Bench(tmp_path_factory.mktemp("conformance"))


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("own") / "own.py"
    path.write_text(OWN + WRONG_ONES)
    return path


def test_every_selector_is_in_the_suite() -> None:
    assert set(SELECTORS) <= {name.split()[0] for name in CASES}


@pytest.mark.parametrize(
    ("name", "claim"),
    [(name, claim) for name in sorted(CASES) for claim in CLAIMS if CLAIMS[claim].applies(case_of(name))],
)
def test_it_holds(bench: Bench, own: Path, name: str, claim: str) -> None:
    case = case_of(name)
    case = case._replace(name=case.name.replace("own.py:", f"{own}:"))
    CLAIMS[claim].check(bench, case)


WRONG_ONES = textwrap.dedent(
    '''

    @dataclass(frozen=True, kw_only=True)
    class ByPlace:
        """Its scores hang on where a row stands in its batch."""

        def fit(self, pool, targets):
            return self

        def score(self, batch):
            return np.arange(batch.num_rows, dtype=float)


    @dataclass(frozen=True, kw_only=True)
    class Short:
        """It gives too few scores."""

        def fit(self, pool, targets):
            return self

        def score(self, batch):
            return np.zeros(3)


    @dataclass(frozen=True, kw_only=True)
    class Broken:
        """It raises."""

        def fit(self, pool, targets):
            raise ZeroDivisionError("of its own")

        def score(self, batch):
            return np.zeros(batch.num_rows)
    '''
)


@pytest.mark.parametrize(
    ("name", "failing", "words"),
    [
        ("Longest", [], ""),
        ("ByPlace", ["order of rows", "equal contents"], "samples are decided otherwise, such as s000"),
        ("Short", ["each candidate"], "gave (3,) values for 90 rows"),
        ("Broken", ["each candidate", "order of rows"], "ZeroDivisionError: of its own"),
    ],
)
def test_anybodys_selector_is_told_what_fails_in_words(own: Path, name: str, failing: list[str], words: str) -> None:
    findings = check_selector(f"{own}:{name}")
    said = "\n".join(lines(findings))
    failed = [one.sentence for one in findings if not one.holds]
    assert bool(failed) == bool(failing) and words in said, said
    assert all(any(sentence.startswith(start) for sentence in failed) for start in failing[:1]), said
    assert said.endswith(f"{len(findings) - len(failed)} of {len(findings)} hold")


def test_an_installed_one_and_one_that_is_not_there() -> None:
    assert all(finding.holds for finding in check_selector("k_center", {"column": "v"}))
    with pytest.raises(RecipeError, match="can't be loaded"):
        check_selector("no.such.module:Name")

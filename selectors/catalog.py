"""The one place that knows all selectors: recipe name to class, and how settings become a selector."""

import dataclasses
from collections.abc import Callable
from functools import lru_cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any, get_type_hints

from pydantic import TypeAdapter, ValidationError

from tamis.selectors.active.active import Active
from tamis.selectors.active.k_center import KCenter
from tamis.selectors.active.label_errors import LabelErrors
from tamis.selectors.active.ood import Ood
from tamis.selectors.active.self_paced import SelfPaced
from tamis.selectors.active.typical_clusters import TypicalClusters
from tamis.selectors.balance.clusters import ClusterBalance
from tamis.selectors.balance.quota import Quota
from tamis.selectors.balance.sensitivity import Sensitivity
from tamis.selectors.balance.source_budgets import SourceBudgets
from tamis.selectors.balance.uniform import Random
from tamis.selectors.contract import Selector
from tamis.selectors.dedup.decontaminate import Decontaminate
from tamis.selectors.dedup.decontaminate_vectors import DecontaminateVectors
from tamis.selectors.dedup.exact import ExactDedup
from tamis.selectors.dedup.near_images import NearDedupImages
from tamis.selectors.dedup.near_texts import NearDedup
from tamis.selectors.dedup.semantic import SemanticDedup
from tamis.selectors.hints import did_you_mean
from tamis.selectors.match.benchmark_ranking import BenchmarkRanking
from tamis.selectors.match.density_ratio import DensityRatio
from tamis.selectors.match.importance import ImportanceResampling
from tamis.selectors.match.loss_reduction import LossReduction
from tamis.selectors.match.norm_sim import NormSim
from tamis.selectors.match.set_selection import SetSelection
from tamis.selectors.match.target_clusters import TargetClusters
from tamis.selectors.match.target_coverage import TargetCoverage
from tamis.selectors.match.tsds import Tsds
from tamis.selectors.objects.class_round_robin import ClassRoundRobin
from tamis.selectors.objects.coverage import ObjectCoverage
from tamis.selectors.objects.detection_entropy import DetectionEntropy
from tamis.selectors.quality.clip_score import ClipScore, StoredClipScore
from tamis.selectors.quality.combine import Combine
from tamis.selectors.quality.images import ImageQuality
from tamis.selectors.quality.language import Language
from tamis.selectors.quality.neg_clip_loss import NegClipLoss
from tamis.selectors.quality.perplexity import Perplexity
from tamis.selectors.quality.sql_filter import SqlFilter
from tamis.selectors.quality.text_rules import TextQuality
from tamis.selectors.quality.threshold import Threshold

SELECTORS: dict[str, type[Selector]] = {
    "active": Active,
    "benchmark_ranking": BenchmarkRanking,
    "class_round_robin": ClassRoundRobin,
    "clip_score": ClipScore,
    "cluster_balance": ClusterBalance,
    "combine": Combine,
    "decontaminate": Decontaminate,
    "detection_entropy": DetectionEntropy,
    "exact_dedup": ExactDedup,
    "image_quality": ImageQuality,
    "importance_resampling": ImportanceResampling,
    "k_center": KCenter,
    "label_errors": LabelErrors,
    "language": Language,
    "loss_reduction": LossReduction,
    "near_dedup": NearDedup,
    "neg_clip_loss": NegClipLoss,
    "norm_sim": NormSim,
    "object_coverage": ObjectCoverage,
    "ood": Ood,
    "perplexity": Perplexity,
    "quota": Quota,
    "random": Random,
    "self_paced": SelfPaced,
    "semantic_dedup": SemanticDedup,
    "sensitivity": Sensitivity,
    "set_selection": SetSelection,
    "source_budgets": SourceBudgets,
    "sql": SqlFilter,
    "target_clusters": TargetClusters,
    "target_coverage": TargetCoverage,
    "text_quality": TextQuality,
    "threshold": Threshold,
    "tsds": Tsds,
    "typical_clusters": TypicalClusters,
}


VARIANTS: dict[str, Callable[[dict[str, Any]], type[Selector]]] = {
    "decontaminate": lambda given: DecontaminateVectors if "column" in given else Decontaminate,
    "clip_score": lambda given: StoredClipScore if "column" in given else ClipScore,
    "importance_resampling": lambda given: (
        DensityRatio if given.get("features", "ngrams") != "ngrams" else ImportanceResampling
    ),
    "near_dedup": lambda given: NearDedupImages if "column" in given else NearDedup,
}  # names whose settings tell which of two methods is meant
MORE = {
    "clip_score with column: COLUMN": StoredClipScore,
    "decontaminate with column: COLUMN": DecontaminateVectors,
    "importance_resampling with features: COLUMN": DensityRatio,
    "near_dedup with column: COLUMN": NearDedupImages,
}  # what such a name means with such a setting


GROUP = "tamis.selectors"  # entry points of installed packages, by the step's name


@lru_cache(maxsize=1)
def plugged() -> dict[str, EntryPoint]:
    """Steps that installed packages add; ours come first where names are equal."""
    return {entry.name: entry for entry in sorted(entry_points(group=GROUP)) if entry.name not in SELECTORS}


def find(name: str) -> type[Selector] | None:
    """The class of a step by its name, ours or an installed package's; None for another. Raises ValueError where the
    package's can't be loaded."""
    if name in SELECTORS:
        return SELECTORS[name]
    if name not in plugged():
        return None
    entry = plugged()[name]
    try:
        kind = entry.load()
    except Exception as error:  # whatever a package does while it is imported
        raise ValueError(f"{entry.value}: can't be loaded: {error}") from error
    if not (isinstance(kind, type) and issubclass(kind, Selector)):
        raise ValueError(f"{entry.value}: wanted a class with a base of tamis.selectors.contract")  # noqa: TRY004
    return kind


def findable(name: str) -> type[Selector] | None:
    """The same for who only looks: a package's that can't be loaded is as if it were not there."""
    try:
        return find(name)
    except ValueError:
        return None


def package_of(name: str) -> str:
    """Name and version of the package that a step is from."""
    held = plugged()[name].dist if name in plugged() else None
    return "tamis" if held is None else f"{held.name} {held.version}"


def build(name: str, settings: dict[str, Any], seed: int = 0, step: int = 0) -> Selector:
    """The selector of that name. Raises ValueError for an unknown name, key or value."""
    found = find(name)
    if found is None:
        known = sorted([*SELECTORS, *plugged()])
        hint = did_you_mean(name, known)
        raise ValueError(f"no selector {name!r}{hint} Known: {', '.join(known)}")
    kind = VARIANTS[name](settings) if name in VARIANTS else found
    built: Selector = build_class(kind, settings, seed, step)
    return built


def build_class(kind: type, settings: dict[str, Any], seed: int = 0, step: int = 0) -> Any:
    """A selector from settings, checked against its fields' types; `seed` and `step` are filled in."""
    if not (isinstance(kind, type) and dataclasses.is_dataclass(kind)):
        raise ValueError(f"{kind!r} is no dataclass; see docs/selectors.md, 'Your own'")
    known = [field.name for field in dataclasses.fields(kind)]
    settable = [name for name in known if name != "step"]
    for key in settings:
        if key not in settable:
            hint = did_you_mean(key, [*settable, "budget", "fraction", "where"])
            raise ValueError(f"unknown setting {key!r}{hint} (known: {', '.join(settable) or 'none'})")
    hints = get_type_hints(kind)
    given = {"seed": seed, "step": step, **settings}
    checked = {key: _checked(key, value, hints[key]) for key, value in given.items() if key in known}
    missing = [f.name for f in dataclasses.fields(kind) if f.name not in checked and required(f)]
    if missing:
        raise ValueError(f"{missing[0]}: missing")
    return kind(**checked)


def required(field: dataclasses.Field[Any]) -> bool:
    return field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING


def _checked(key: str, value: Any, wanted: Any) -> Any:
    try:
        return TypeAdapter(wanted).validate_python(value, strict=True)
    except ValidationError as error:
        messages = dict.fromkeys(problem["msg"].removeprefix("Value error, ") for problem in error.errors())
        raise ValueError(f"{key}: {'; or '.join(messages)}, found {value!r}") from error

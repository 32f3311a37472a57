"""A recipe's steps as what will run: selector, budget, scope. What is wrong is found here, before anything starts."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from tamis.pipeline.errors import RecipeError
from tamis.pipeline.recipe.outputs import emitted
from tamis.pipeline.recipe.publish import Shares
from tamis.pipeline.recipe.recipe import Guard, Recipe, Step
from tamis.pipeline.recipe.user_code import load_object, need_permission
from tamis.selectors.budget import AnyBudget, AsFound, Budget, parse_budget
from tamis.selectors.catalog import build, build_class
from tamis.selectors.contract import Selector
from tamis.selectors.hints import did_you_mean
from tamis.selectors.labeled import Labeled
from tamis.selectors.own import adopted


@dataclass(frozen=True)
class StepPlan:
    number: int
    name: str  # as in the recipe
    selector: Selector
    budget: AnyBudget | None
    where: str | None
    outside: str  # what becomes of the rest, as the ledger's reason: passed_through, or why it is dropped

    @property
    def choice(self) -> str:
        """The query in sql/ that turns scores into decisions."""
        return self.selector.choice

    @property
    def needs_number(self) -> bool:
        """Whether its budget hangs on how many there are of the target's kind."""
        return self.budget is not None and (isinstance(self.budget, AsFound) or self.budget.epochs != 1)

    @property
    def judges(self) -> bool:
        """Whether samples that it has not seen can be scored as if they lay in the pool."""
        apart = self.selector.ranks or self.selector.needs_where or self.selector.needs_evaluation
        return not apart and self.choice in ("budget", "budget_with_ties")


def resolve_steps(recipe: Recipe, folder: Path, allow_code: bool, columns: Collection[str]) -> list[StepPlan]:
    """`columns`: names of the recipe's columns and of their fields. Raises RecipeError, CodeNotAllowed."""
    plans = [resolve_step(recipe, number, folder, allow_code, columns) for number in range(len(recipe.steps))]
    if "labels" in [emitted(entry)[0] for entry in recipe.emit] and not any(tells_labels(p.selector) for p in plans):
        raise RecipeError("emit labels: no step tells labels; add `self_paced` or `label_errors`")
    guards: list[tuple[str, Sequence[Guard | Shares]]] = [
        ("guard", recipe.guards),
        *((f"steps.{n}: guard", one.guards) for n, one in enumerate(recipe.steps_given)),
        ("publish.share", recipe.publish.shares if recipe.publish else []),
    ]
    groups = {"source", *recipe.kept, *columns}
    for where, some in guards:
        if unknown := [by for guard in some for by in guard.fields if by not in groups]:
            raise RecipeError(
                f"{where}: by: the pool has no field or column {unknown[0]!r} (there are: {', '.join(sorted(groups))})"
            )
    for name, settings in map(emitted, recipe.emit):
        by = settings.get("by") if name == "splits" else None
        if by is not None and by not in recipe.kept and by not in ("source", "parent"):
            known = ", ".join(sorted(recipe.kept)) or "none"
            raise RecipeError(f"emit splits: by: the pool keeps no field {by!r}; add it to `keep` (there are: {known})")
    _check_weights(plans)
    return plans


def _check_weights(plans: list[StepPlan]) -> None:
    """What repeats, or stands for others, is the last that chooses: a later budget would not see it. Raises
    RecipeError."""
    before = None
    for plan in plans:
        if plan.budget is None:
            continue
        if before is not None:
            raise RecipeError(
                f"steps.{plan.number} ({plan.name}): chooses among what step {before.number} ({before.name}) repeats "
                "or weighs, and its budget would not count that: put that step last"
            )
        if plan.selector.weighs or plan.selector.epochs > 1 or plan.budget.epochs != 1:
            before = plan


def tells_labels(selector: Selector) -> bool:
    return selector.fitted is not None and issubclass(selector.fitted, Labeled)


def resolve_step(recipe: Recipe, number: int, folder: Path, allow_code: bool, columns: Collection[str]) -> StepPlan:
    """Raises RecipeError, CodeNotAllowed."""
    step = recipe.steps_given[number]
    try:
        return _plan(number, step, recipe, folder, allow_code, columns)
    except (ValueError, TypeError) as error:
        raise RecipeError(f"steps.{number} ({step.name}): {error}") from error


def _plan(
    number: int, step: Step, recipe: Recipe, folder: Path, allow_code: bool, columns: Collection[str]
) -> StepPlan:
    settings = dict(step.settings)
    budget = parse_budget(settings)
    if ":" in step.name:
        need_permission(step.name, allow_code)
        selector = adopted(build_class(load_object(step.name, folder), settings, recipe.seed, number))
    else:
        selector = build(step.name, settings, recipe.seed, number)
    fields = {*recipe.kept, *columns}
    if isinstance(budget, Budget) and budget.unit == "tokens" and budget.by is None:
        counted = selector.tokens_field
        budget = replace(budget, by=counted if counted in fields else None)
    counts_objects = isinstance(budget, Budget) and (budget.unit == "objects" or budget.object > 0)
    if isinstance(budget, Budget) and counts_objects and budget.by is None:
        if (counted := selector.objects_field) not in fields:
            raise ValueError(f"budget in {budget.unit}: add `by: COLUMN_count`, of a column of objects")
        budget = replace(budget, by=counted)
    plan = StepPlan(number, step.name, selector, budget, step.where, selector.outside or _outside(step, budget))
    _check_budget(plan)
    _check_number(plan, recipe)
    if selector.needs_where and step.where is None:
        raise ValueError('where: missing; wanted an SQL condition, such as {where: "width >= 100"}')
    if step.outside is not None and selector.outside:
        raise ValueError("outside: this step drops what its `where` leaves out, and nothing else")
    if step.where is not None and not isinstance(step.where, str):
        raise ValueError(f"where must be an SQL expression, found {step.where!r}")
    if selector.needs_target and not recipe.target:
        raise ValueError("this step needs a target: add `target:` to the recipe")
    if selector.needs_evaluation and not recipe.kept_out:
        raise ValueError(
            "this step needs what must not be trained on: add `evaluation:` to the recipe, as `target:` is, or `judge:`"
        )
    selector.check(fields, len(recipe.target))
    by = (budget.by,) if isinstance(budget, Budget) and budget.by else ()
    for name in (*selector.inputs().fields, *by):
        if name not in fields and name not in POOL_FIELDS:
            hint = did_you_mean(name, [*selector.no_fields, *sorted(fields)])
            raise ValueError(
                f"the pool has no field or column {name!r}{hint}; add it to `keep` or `columns` "
                f"(there are: {', '.join(sorted(fields)) or 'none'})"
            )
    return plan


def _outside(step: Step, budget: AnyBudget | None) -> str:
    """A step that chooses drops what it may not choose from, a rule lets it pass. Raises ValueError."""
    if step.outside not in (None, "keep", "drop"):
        raise ValueError(f"outside: wanted keep or drop, of what `where` leaves out, found {step.outside!r}")
    if step.outside is not None and step.where is None:
        raise ValueError("outside: keeps or drops what `where` leaves out, and there is no `where`")
    drops = budget is not None if step.outside is None else step.outside == "drop"
    return "not_in_scope" if drops else "passed_through"


def _check_budget(plan: StepPlan) -> None:
    selector, budget = plan.selector, plan.budget
    if budget is not None and not selector.budgets:
        raise ValueError("this step takes no budget: it keeps or drops by rule")
    if budget is None and not selector.rules:
        raise ValueError("how much may it choose? Add `budget` (rows, {tokens: N}, {bytes: N}, ...) or `fraction`")
    if plan.choice == "budget_with_ties" and isinstance(budget, Budget) and budget.unit != "rows":
        raise ValueError("ties: include: wants a budget of rows, or a fraction")
    if plan.choice == "quota" and not (isinstance(budget, Budget) and budget.unit == "rows"):
        by = selector.priced_by
        priced = isinstance(budget, Budget) and budget.prices and budget.by == by
        if not (by is not None and priced):
            more = "" if by is None else f" or {{cost: N, by: {by}, prices: {{...}}}}"
            raise ValueError(f"a quota's budget is a number of rows{more}")
    in_tokens = isinstance(budget, Budget) and budget.unit == "tokens" and budget.by is None
    if in_tokens and selector.inputs().ngrams is None:
        raise ValueError("budget in tokens: add `by: FIELD`, a kept field or column that holds their number")


def _check_number(plan: StepPlan, recipe: Recipe) -> None:
    """Where the budget hangs on how many there are of the target's kind, the step must be able to tell."""
    if not plan.needs_number:
        return
    what = "budget: auto" if isinstance(plan.budget, AsFound) else "max_epochs"
    if not recipe.target:
        raise ValueError(f"{what}: asks how many there are of the target's kind: add `target:` to the recipe")
    if not plan.judges or plan.choice != "budget":
        raise ValueError(
            f"{what}: asks how many there are of the target's kind, and this step can't tell: it gives no score to a "
            "sample by itself. Give a number, or choose by a step that scores"
        )
    if plan.selector.needs_target and not plan.selector.tells_unseen and recipe.hold_out is None:
        raise ValueError(f"{what}: wants target samples that the step has not seen: add `hold_out: 0.25` to the recipe")
    if plan.selector.in_turn and what == "max_epochs":
        raise ValueError("max_epochs: with one target for all (`targets: pooled`) alone")


POOL_FIELDS = (
    "sample_id",
    "key",
    "content_hash",
    "source",
    "position",
    "uri",
    "offset",
    "text",
    "captions",
    "n_bytes",
    "width",
    "height",
    "parent",
)

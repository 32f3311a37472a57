"""Why a sample that one run chose is not chosen by another: told by that one's pool and ledger, in words that can be
counted."""

from typing import Any

from tamis.pipeline.publish.pairs import pool_files
from tamis.pipeline.read.pool import records_of
from tamis.pipeline.store.runs import Run
from tamis.pipeline.store.set_aside import APART, EARLIER, FORGOTTEN, HELD_OUT, JUDGE, SET_ASIDE

WORDS = {  # of who went, of who came
    "unknown": (
        "not chosen again, and of that run no ledger is left", "not chosen before, and of that run no ledger is left",
    ),
    "no step": ("set aside by no step", "was set aside by no step"),
    FORGOTTEN: ("forgotten", "was forgotten, and is not any more"),
    EARLIER: ("an earlier run of the recipe chose it", "an earlier run of the recipe had chosen it"),
    HELD_OUT: ("held out of the pool", "was held out of the pool"),
    JUDGE: ("selections are judged by it", "selections were judged by it"),
    "their duplicate": ("a better duplicate came", "its better duplicate went"),
    "duplicate": ("of its duplicates another is kept", "of its duplicates it is kept now"),
    "newer": ("below the cut, because of newer ones", "was below the cut"),
    "cut": ("below the cut", "was below the cut"),
    "dropped": ("dropped", "was dropped"),
}  # fmt: skip
CUT = ("below_cut", "over_quota", "not_picked", "not_a_candidate", "not_reached", "covered")  # others were preferred


def differing(before: Run, after: Run) -> list[str]:
    """What of the recipe differs that may change a decision; `target` also where its files do."""
    one, other = (run.recipe.model_dump(mode="json") for run in (before, after))
    found = [key for key in other if key not in (*APART, "emit") and one.get(key) != other[key]]
    same_target = before.inputs["target"] == after.inputs["target"]
    return found if same_target or "target" in found else [*found, "target"]


class Reasons:
    """Why samples of one run's selection are not in the other's, or in both of another weight."""

    def __init__(self, mine: Run, other: Run, *, went: bool, newer: bool = False) -> None:
        self.went = went  # the other is the later run
        self.newer = newer  # some of the other's selection came only with its pool
        told = not other.recipe.steps or any((other.folder / "ledger").rglob("*.parquet"))
        self.unknown = other.thinned or not told or not pool_files(other) or not pool_files(mine)  # nothing tells it
        self.settings = (mine.recipe.steps, other.recipe.steps)
        self.besides = [key for key in differing(mine, other) if key not in ("steps", "pool", "guard", "strict")]
        self.given = other.pool_of is not None  # its pool was that of an earlier run
        self._told: dict[int, str | None] = {}
        groups = set(other.inputs["pool"])
        records = [one for one in records_of(other.store / "pool") if one["group"] in groups]
        self.files = {file["path"] for record in records for file in record["files"]}

    def of(self, row: dict[str, Any]) -> tuple[str, str | None]:
        """In words that can be counted, and what they leave open."""
        side = 0 if self.went else 1
        if row["other_weight"] is not None:
            weights = (row["weight"], row["other_weight"])
            told = "{:g} → {:g}".format(*(weights if self.went else weights[::-1]))
            return ("its content changed", None) if row["changed"] else ("counts another number of times", told)
        if self.unknown:
            return WORDS["unknown"][side], None
        if not row["there"]:
            return self._not_there(row) if self.went else ("new to the pool", None)
        reason = row["reason"]
        if reason is None:  # a recipe without steps has no ledger
            return WORDS["no step"][side], None
        if reason in SET_ASIDE:
            return WORDS[reason][side], None
        if row["changed"]:
            return "its content changed", reason
        if changed := self._setting(row["step"]):
            return "a setting changed", changed
        if reason.endswith("duplicate"):
            return WORDS["their duplicate" if row["related_is_theirs"] else "duplicate"][side], None
        if reason not in CUT:
            return f"{WORDS['dropped'][side]}: {reason}", row["detail"]
        if self.besides:
            return "a setting changed", ", ".join(self.besides)
        return WORDS["newer" if self.newer else "cut"][side], None

    def _not_there(self, row: dict[str, Any]) -> tuple[str, str | None]:
        """Of who went, and is not in the later pool at all."""
        if row["reject"] is not None:
            return "its row is a reject now", row["reject"]
        if self.given:
            return "not in the pool that the run was given", None
        return ("its file does not hold it any more" if row["source"] in self.files else "its file vanished"), None

    def _setting(self, step: int) -> str | None:
        """What differs at the other's step, if this run had it otherwise or not at all."""
        if step not in self._told:
            self._told[step] = _changed_setting(*self.settings, step)
        return self._told[step]


def _changed_setting(mine: list[dict[str, Any]], other: list[dict[str, Any]], step: int) -> str | None:
    here = other[step]
    if here in mine:
        return None
    ((name, now),) = here.items()
    then = next((one[name] for one in mine if name in one), None)
    if then is None and not any(name in one for one in mine):
        return f"step {name}"
    keys = {**(then or {}), **(now or {})}
    told = [key for key in keys if (then or {}).get(key) != (now or {}).get(key)]
    return f"{name}: {', '.join(told)}"

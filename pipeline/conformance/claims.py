"""What every selector must hold, each a sentence and a check that says in words what fails."""

from collections.abc import Callable
from typing import NamedTuple

from tamis.pipeline.conformance.bench import Bench, Case, Decision
from tamis.pipeline.conformance.pool import RECORDS, TWIN

SHOWN = 3  # samples that a failure names
LARGE = 10_000  # a budget above the pool
BOUGHT = ("below_cut", "over_quota", "not_picked", "not_a_candidate")  # of those that a larger budget would have bought


class Fails(AssertionError):
    """A claim that does not hold; its words say where."""


class Claim(NamedTuple):
    """One thing that must hold."""

    sentence: str
    applies: Callable[[Case], bool]
    check: Callable[[Bench, Case], None]


def always(_case: Case) -> bool:
    return True


def has_budget(case: Case) -> bool:
    """In rows: other units are spent by prices that only a pool's owner knows."""
    return isinstance(case.settings.get("budget"), int)


def is_of_content(case: Case) -> bool:
    """Chance belongs to the sample; a ranker takes one of two, and so does a quota."""
    return not (case.is_.ranks or case.is_.by_chance)


def has_scope(case: Case) -> bool:
    return not case.is_.needs_where


def one_row_each(bench: Bench, case: Case) -> None:
    found, record = bench.decided(case)
    if set(found) != {record["id"] for record in RECORDS}:
        raise Fails(f"{len(found)} rows in the ledger for {len(RECORDS)} candidates")
    if has_budget(case):
        weight = sum(1 if case.is_.weighs else one.weight for one in found.values() if one.kept)
        budget = min(case.settings["budget"], record["eligible"] * case.is_.epochs if case.kind else LARGE)
        if "ties" in case.settings:
            if weight <= budget:
                raise Fails(f"ties at the line were not kept: {weight:g} of a budget of {budget}")
        elif weight != budget:
            raise Fails(f"kept {weight:g} of a budget of {budget}, though there were enough to choose from")


def order_does_not_matter(bench: Bench, case: Case) -> None:
    _same(bench.decisions(case), bench.decisions(case, "pieces"), "in another order, in shards of 16, batches of 5")


def same_seed_same_result(bench: Bench, case: Case) -> None:
    _same(bench.decisions(case), bench.decisions(case, anew=True), "when all is learned once more")


def budget_zero(bench: Bench, case: Case) -> None:
    found = bench.decisions(case.with_(budget=0))
    kept = {key for key, one in found.items() if one.kept}
    if "ties" in case.settings:  # DataComp's rule keeps the next one, and all that tie with it
        best = max(one.score for one in found.values() if one.score is not None)
        kept -= {key for key, one in found.items() if one.rank == 1 or one.score == best}
    if kept:
        raise Fails(f"a budget of 0 keeps {len(kept)}, such as {_some(kept)}")


def budget_above_the_pool(bench: Bench, case: Case) -> None:
    found = bench.decisions(case.with_(budget=LARGE))
    left = {key: one.reason for key, one in found.items() if not one.kept and one.reason in BOUGHT}
    if left:
        raise Fails(f"a budget above the pool leaves {len(left)}, such as {_some(left)}: {next(iter(left.values()))}")


def equal_content_equal_score(bench: Bench, case: Case) -> None:
    found = bench.decisions(case, "twins")
    mine, theirs = found[RECORDS[5]["id"]], found[TWIN["id"]]
    if mine.score != theirs.score:
        raise Fails(f"two samples of one text have scores {mine.score} and {theirs.score}")


def scope(bench: Bench, case: Case) -> None:
    changes = {"budget": 5} if has_budget(case) else {}
    found = bench.decisions(case.with_(where="part <> 'c'", **changes))
    part = {record["id"]: record["part"] for record in RECORDS}
    wanted = (False, "not_in_scope") if changes else (True, "passed_through")
    wrong = {key for key, one in found.items() if part[key] == "c" and (one.kept, one.reason) != wanted}
    if wrong:
        what = "was not left out" if changes else "did not pass"
        raise Fails(
            f"of what `where` leaves out {len(wrong)} {what}, such as {_some(wrong)}: {found[min(wrong)].reason}"
        )
    if scored := {key for key, one in found.items() if part[key] == "c" and one.score is not None}:
        raise Fails(f"of what `where` leaves out {len(scored)} have scores, such as {_some(scored)}")
    if {one.reason for one in found.values()} == {wanted[1]}:
        raise Fails("inside of `where` nothing was decided")


def no_candidates(bench: Bench, case: Case) -> None:
    found, record = bench.decided(case, before=[{"random": {"budget": 0}}])
    if found or record["candidates"] or record["kept"]:
        raise Fails(f"without candidates there are {len(found)} rows, {record['kept']} kept")


CLAIMS: dict[str, Claim] = {
    "one_row_each": Claim("each candidate has one row, and the budget is kept", always, one_row_each),
    "order": Claim("order of rows, shards and batches does not matter", always, order_does_not_matter),
    "seed": Claim("the same seed gives the same result", always, same_seed_same_result),
    "budget_zero": Claim("a budget of 0 keeps none", has_budget, budget_zero),
    "budget_large": Claim("a budget above the pool keeps all that may be kept", has_budget, budget_above_the_pool),
    "content": Claim("samples of equal content have equal scores", is_of_content, equal_content_equal_score),
    "where": Claim("a choice leaves out what its `where` does, a rule lets it pass", has_scope, scope),
    "empty": Claim("without candidates nothing is chosen, and nothing fails", always, no_candidates),
}


def _same(one: dict[str, Decision], other: dict[str, Decision], when: str) -> None:
    differ = sorted(key for key in {*one, *other} if one.get(key) != other.get(key))
    if differ:
        first = differ[0]
        raise Fails(
            f"{when} {len(differ)} samples are decided otherwise, such as {_some(differ)}: {first} was "
            f"{_told(one.get(first))}, then {_told(other.get(first))}"
        )


def _told(decision: Decision | None) -> str:
    if decision is None:
        return "not there"
    score = "" if decision.score is None else f", score {decision.score:.9g}"
    return f"{'kept' if decision.kept else 'dropped'} ({decision.reason}{score}, rank {decision.rank})"


def _some(keys: "set[str] | dict[str, str] | list[str]") -> str:
    return ", ".join(sorted(keys)[:SHOWN])

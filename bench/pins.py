"""What tamis is installed with: one version of each package, the hashes of its files, its licence.

    python bench/pins.py make     # asks the package index, through uv (pip install uv)
    python bench/pins.py check    # asks nobody; one line for each fault, exit code 1

`make` resolves pyproject.toml under constraints.txt for Linux x86-64 and this Python. requirements.lock is what the
tests need, requirements-more.lock what further extras add; a version that stands there stays while it fits, so delete
the files to have the newest. The licences in docs/dependencies.md are read from what is installed here: every extra but
the GPU's. `check --installed` fails, too, where this environment is not the locks'."""

import argparse
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path
from textwrap import fill
from typing import Any, NamedTuple

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parents[1]
PAGE = "docs/dependencies.md"
FOR_TESTS = ("test", "dev")
LOCKS = {"requirements.lock": FOR_TESTS, "requirements-more.lock": ("kenlm", "umap")}  # file -> extras
APART = ("torch", "torchvision")  # without hashes: their file differs by machine
GPU = re.compile(r"(nvidia|cuda)-|(triton|faiss-gpu)$")  # of a GPU's build: in no lock
PIN = re.compile(r"^(?:# )?([\w.-]+)==(\S+)((?: \\\n +--hash=sha256:[0-9a-f]{64})*)", re.MULTILINE)
SAID = re.compile(r"^\| `(.+?)` \| (.+?) \|", re.MULTILINE)  # package, licence
ROW = re.compile(r"^\| `(.+?)` \| (.+?) \| (.+?) \|$", re.MULTILINE)  # between the marks: with, licence, packages
MARKS = ("<!-- licences: by bench/pins.py make -->\n", "<!-- end of licences -->\n")
COPYLEFT = re.compile(r"GPL|MPL|EPL|CDDL|Artistic")
SPELLINGS = {  # of METADATA; the first that is found
    r"apache": "Apache-2.0", r"\bmit\b": "MIT", r"bsd.3|3.clause": "BSD-3-Clause", r"bsd.2|2.clause": "BSD-2-Clause",
    r"bsd": "BSD", r"mozilla|\bmpl": "MPL-2.0", r"\bisc\b": "ISC", r"\bpsf|python software": "PSF-2.0",
    r"artistic": "Artistic", r"gplv2\+": "GPL-2.0-or-later", r"general public": "GPL",
}  # fmt: skip
READ = {"kenlm": "LGPL-2.1-or-later", "cleanlab": "Apache-2.0"}  # in its LICENSE, where METADATA has no short word


class Pin(NamedTuple):
    version: str
    hashes: list[str]


NONE = Pin("none", [])
parsed = cache(Requirement)


@dataclass(frozen=True)
class Held:
    """What is to agree: pyproject's [project], and the texts of the other files."""

    project: dict[str, Any]
    constraints: str
    locks: str
    page: str

    @property
    def extras(self) -> list[str]:
        return list(self.project["optional-dependencies"])

    def asked(self, extras: Iterable[str] = ()) -> list[Requirement]:
        """What pyproject names for tamis itself and these extras."""
        found = {line: parsed(line) for line in self.project["dependencies"]}
        todo = list(extras)
        while todo:
            for line in self.project["optional-dependencies"][todo.pop()]:
                if parsed(line).name == self.project["name"]:
                    todo += parsed(line).extras
                else:
                    found[line] = parsed(line)
        return list(found.values())


def read() -> Held:
    constraints, page, *locks = ((ROOT / name).read_text("utf-8") for name in ("constraints.txt", PAGE, *LOCKS))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    return Held(project, constraints, "".join(locks), page)


def pins(text: str) -> dict[str, Pin]:
    return {canonicalize_name(name): Pin(version, hashes.split()[1::2]) for name, version, hashes in PIN.findall(text)}


@cache
def installed(name: str) -> Distribution | None:
    with suppress(PackageNotFoundError):
        return distribution(name)
    return None


@cache
def version_of(name: str) -> str:
    """What is installed, without the `+cpu` of a build."""
    found = installed(name)
    return Version(found.version).public if found else NONE.version


@cache
def requirements(name: str, extras: frozenset[str]) -> list[Requirement]:
    """What a package asks for on this machine."""
    found = installed(name)
    lines = [parsed(line) for line in (found.requires if found else None) or ()]
    return [one for one in lines if not one.marker or any(one.marker.evaluate({"extra": e}) for e in {"", *extras})]


def needed(asked: Iterable[Requirement]) -> set[str]:
    """The packages that requirements come to, as far as they are installed here."""
    todo = list(asked)
    met: set[tuple[str, frozenset[str]]] = set()
    while todo:
        one = todo.pop()
        told = (canonicalize_name(one.name), frozenset(one.extras))
        if told not in met and installed(told[0]):
            met.add(told)
            todo += requirements(*told)
    return {name for name, _ in met if not GPU.match(name)}


@cache
def licence(name: str) -> str:
    """What METADATA says: an expression, several classifiers, a few words, or one classifier."""
    about: Any = distribution(name).metadata
    words = about.get("License") or ""
    classes = [line.rpartition(" :: ")[2] for line in about.get_all("Classifier", []) if "OSI Approved :: " in line]
    if told := about.get("License-Expression") or (words if re.search(r" (AND|OR) ", words[:40]) else ""):
        return told
    if len(classes) > 1:
        return " / ".join(sorted(map(_spelled, classes)))
    return _spelled(words if len(words) < 40 else "") or _spelled("".join(classes)) or READ.get(name, "unknown")


def _spelled(words: str) -> str:
    return next((name for pattern, name in SPELLINGS.items() if re.search(pattern, words, re.IGNORECASE)), "")


def groups(held: Held) -> dict[str, set[str]]:
    """Packages of tamis alone, what each extra adds to it, and what tests and development add to all of these."""
    base = needed(held.asked())
    shipped = [extra for extra in held.extras if extra not in FOR_TESTS and not GPU.match(extra)]
    found = {"tamis": base} | {f"[{extra}]": needed(held.asked([extra])) - base for extra in shipped}
    known = set().union(*found.values())
    return found | {f"[{extra}]": needed(held.asked([extra])) - known for extra in FOR_TESTS}


def licences(held: Held) -> str:
    """What stands between the marks."""
    lines: list[str] = []
    left: set[str] = set()
    for group, names in groups(held).items():
        by: dict[str, list[str]] = {}
        for name in sorted(names):
            by.setdefault(licence(name), []).append(name)
        lines += [f"| `{group}` | {told} | {', '.join(some)} |\n" for told, some in sorted(by.items())]
        left |= {f"{name} ({told})" for told, some in by.items() if COPYLEFT.search(told) for name in some}
    head = "| with | licence | packages |\n|---|---|---|\n"
    copyleft = f"Copyleft, wholly, in part or by choice: {', '.join(sorted(left))}."
    return f"{head}{''.join(lines)}\n{fill(copyleft, 120, break_on_hyphens=False)}\n"


def faults(held: Held) -> Iterator[str]:
    """One line for each thing in the files that is not so."""
    locked, constrained = pins(held.locks), pins(held.constraints)
    for one in (one for one in held.asked(held.extras) if not GPU.match(one.name)):
        pin = locked.get(canonicalize_name(one.name), NONE)
        if pin == NONE or pin.version not in one.specifier:
            yield f"{one.name}: pyproject.toml asks for {one}, the locks have {pin.version}"
    for name, (version, _) in constrained.items():
        if name not in locked or locked[name].version != version:
            yield f"{name}: constraints.txt says {version}, the locks have {locked.get(name, NONE).version}"
    others = (line for line in PIN.sub("", held.locks).splitlines() if line and not line.startswith("#"))
    yield from (f"a lock has a line that is no pin: {line}" for line in others)
    yield from (f"{name}: no hash" for name, pin in locked.items() if not pin.hashes and name not in APART)
    yield from _faults_of_page(held, locked)


def _faults_of_page(held: Held, locked: dict[str, Pin]) -> Iterator[str]:
    before, _, after = held.page.partition(MARKS[0])
    rows = [(group, words, names.split(", ")) for group, words, names in ROW.findall(after.partition(MARKS[1])[0])]
    told = {name: words for _, words, names in rows for name in names}
    said = {canonicalize_name(name): words for name, words in SAID.findall(before)}
    for asked in dict.fromkeys(canonicalize_name(one.name) for one in held.asked(held.extras)):
        if asked not in said:
            yield f"{asked}: {PAGE} doesn't say what it is for"
    for asked, words in said.items():
        if told.get(asked, words) != words:
            yield f"{asked}: {PAGE} says licence {words} above, {told[asked]} below"
    same = {name for name in locked if version_of(name) == locked[name].version}
    for name in sorted(locked.keys() | told.keys()):
        found = licence(name) if name in same else told.get(name, "unknown")
        if name not in locked or told.get(name) != found or found == "unknown":
            yield f"{name}: {PAGE} says licence {told.get(name)}, wanted {found if name in locked else 'none'}"
    for group, now in groups(held).items():
        then = {name for one, _, names in rows if one == group for name in names}
        if then <= same and then != now & locked.keys():  # other versions, and other machines, may need others
            yield f"{group}: {PAGE} lists other packages ({', '.join(sorted(then ^ now))})"


def differences(held: Held) -> Iterator[str]:
    """Where this environment is not what the locks have."""
    locked, for_tests = pins(held.locks), pins((ROOT / next(iter(LOCKS))).read_text("utf-8"))
    for name in sorted(locked.keys() | needed(held.asked(FOR_TESTS))):
        here, there = version_of(name), locked.get(name, NONE).version
        if here != there and (here != NONE.version or name in for_tests):
            yield f"{name}: installed is {here}, the locks have {there}"


def resolved(extras: Iterable[str]) -> dict[str, Pin]:
    """All that tamis with these extras needs, by uv: the locks' versions where they fit, and hashes as they are now."""
    uv = shutil.which("uv") or sys.exit("uv is missing: pip install uv")
    locks = "".join((ROOT / name).read_text("utf-8") for name in LOCKS if (ROOT / name).exists())
    command = [uv, "pip", "compile", "pyproject.toml", *(f"--extra={extra}" for extra in extras)]
    command += ["-c", "constraints.txt", "--python", sys.executable, "--python-platform", "x86_64-manylinux_2_28"]
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder, "pins.txt")  # what stands in it uv prefers; hashes, too, so there are none
        out.write_text("".join(f"{name}=={version}\n" for name, (version, _) in pins(locks).items()), "utf-8")
        command += ["--generate-hashes", "--no-annotate", "--no-header", "--quiet", "-o", str(out)]
        subprocess.run(command, cwd=ROOT, check=True)
        found = pins(out.read_text("utf-8"))
    return {name: pin for name, pin in sorted(found.items()) if not GPU.match(name)}


def make() -> None:
    """Write the locks and the licences."""
    python = f"Python {sys.version_info.major}.{sys.version_info.minor}, Linux x86-64"
    known: set[str] = set()
    for lock, extras in LOCKS.items():
        found = {name: pin for name, pin in resolved({*FOR_TESTS, *extras}).items() if name not in known}
        text = f"# All that tamis[{','.join(extras)}] needs{' besides' * bool(known)} on {python}; "
        text += f"by `python bench/pins.py make`.\n# pip install --no-deps --require-hashes -r {lock}\n"
        known |= found.keys()
        if apart := [f"# {name}=={found.pop(name).version}\n" for name in APART if name in found]:
            text += f"# Apart, since their file differs by machine:\n{''.join(apart)}"
        pinned = (" \\\n    ".join([f"{name}=={version}", *hashes]) for name, (version, hashes) in found.items())
        (ROOT / lock).write_text(text + "".join(f"{pin}\n" for pin in pinned), "utf-8")
    if absent := [name for name in known if not installed(name)]:
        sys.exit(f"licences are read from what is installed, and there is no {', '.join(absent)}")
    head, _, rest = (ROOT / PAGE).read_text("utf-8").partition(MARKS[0])
    text = head + MARKS[0] + licences(read()) + MARKS[1] + rest.partition(MARKS[1])[2]
    (ROOT / PAGE).write_text(text, "utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", choices=("make", "check"))
    parser.add_argument("--installed", action="store_true", help="check: this environment is the locks'")
    given = parser.parse_args()
    if given.command == "make":
        make()
    held = read()
    wrong, other = list(faults(held)), list(differences(held))
    for line in wrong + other:
        print(line)
    sys.exit(bool(wrong or (given.installed and other)))


if __name__ == "__main__":
    main()

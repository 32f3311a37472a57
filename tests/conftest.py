"""Fixtures of all tests: small real pools on disk, and a way to run recipes on them."""

import os

os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # as the command line has it: two suites' threads share a machine

import shutil
import signal
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import yaml

from tamis.pipeline.demo.docstrings import docstrings
from tamis.pipeline.progress import hushed
from tamis.pipeline.recipe.recipe import load_recipe
from tamis.pipeline.starting import Outcome, run_recipe
from tests_support import BASIC, ROOT, Runner, write_jsonl

DATA = Path(os.environ.get("TAMIS_TEST_DATA", ROOT.parent / "shared" / "data"))


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--regen", action="store_true", help="rewrite golden files; review the diff")


THOROUGH = ("peer", "fault")  # markers whose tests are of `make test-all` alone


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if any(item.get_closest_marker(name) for name in THOROUGH):
            item.add_marker(pytest.mark.thorough)


@pytest.fixture(autouse=True, scope="session")
def _ctrl_c_reaches_what_tests_start() -> None:
    """A shell lets what it starts with `&` ignore SIGINT, and all its children with it."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def _promise(request: pytest.FixtureRequest, record_property: Callable[[str, Any], None]) -> None:
    """What a test of a fault promises goes into the record that bench/faults.py reads."""
    if mark := request.node.get_closest_marker("fault"):
        record_property("promise", mark.args[0])


@pytest.fixture(autouse=True)
def _cache_of_our_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TAMIS_CACHE", str(tmp_path / "cache"))


@pytest.fixture(scope="session")
def real_texts() -> Path:
    """The folder of the real text pool; skips where a machine does not have it."""
    folder = DATA / "text_pool"
    if not folder.is_dir():
        pytest.skip(f"no real text pool at {folder}; set TAMIS_TEST_DATA")
    return folder


@pytest.fixture(scope="session")
def doc_records() -> list[dict[str, str]]:
    """Docstrings of nltk 3.9.1, pinned by the test extra: real text that every machine has, the same on all."""
    spec = find_spec("nltk")
    assert spec and spec.origin
    root = Path(spec.origin).parent
    records = []
    for path in sorted(root.rglob("*.py")):
        if "test" in path.parts:
            continue
        part = path.relative_to(root).parts[0].removesuffix(".py")
        for name, text in docstrings(path):
            records.append({"id": f"{path.relative_to(root)}:{name}", "part": part, "text": text})
    assert len(records) > 1500
    return records


@pytest.fixture(scope="session")
def real_images() -> Path:
    """The folder of the real image tars; skips where a machine does not have it."""
    if not (DATA / "img_caltech101_112px.tar").is_file():
        pytest.skip(f"no real images at {DATA}; set TAMIS_TEST_DATA")
    return DATA


@pytest.fixture(scope="session")
def all_photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """72 JPEG crops of scikit-learn's two photographs and 40 scanned digits: real images that every machine has."""
    from PIL import Image
    from sklearn.datasets import load_digits, load_sample_images

    root = tmp_path_factory.mktemp("photos")
    samples = load_sample_images()
    for name, photo in zip(samples.filenames, samples.images, strict=True):
        folder = root / Path(name).stem
        folder.mkdir()
        for number in range(36):
            top, left = 40 * (number // 6), 75 * (number % 6)
            Image.fromarray(photo[top : top + 180, left : left + 220]).save(folder / f"{number:02d}.jpg", quality=90)
    digits = load_digits()
    (root / "digits").mkdir()
    for number in range(40):
        picture = Image.fromarray((255 - digits.images[number] * 15).astype("uint8"))
        picture.resize((64, 64)).save(root / "digits" / f"{number:02d}.png")
    return root


@pytest.fixture
def photos(all_photos: Path, tmp_path: Path) -> Path:
    """A copy of them in the test's own folder: photos/china/NN.jpg, photos/flower/NN.jpg, photos/digits/NN.png."""
    return Path(shutil.copytree(all_photos, tmp_path / "photos"))


@pytest.fixture
def workplace(tmp_path: Path, doc_records: list[dict[str, str]]) -> Path:
    """A folder with pool.jsonl (about 1,500 docstrings) and target.jsonl (60 of nltk's tokenizers)."""
    mine = [record for record in doc_records if record["part"] == "tokenize"]
    write_jsonl(tmp_path / "target.jsonl", mine[::2])
    target = {record["id"] for record in mine[::2]}
    write_jsonl(tmp_path / "pool.jsonl", [record for record in doc_records if record["id"] not in target])
    return tmp_path


@pytest.fixture
def run_in() -> Runner:
    """run_in(folder, name=..., store=..., **changes to BASIC): write the recipe and run it with the plain loop."""

    def run(
        folder: Path,
        name: str = "run",
        store: str = "store",
        engine: Any = None,
        allow_code: bool = False,
        **changes: Any,
    ) -> Outcome:
        recipe = folder / f"{name}.yaml"
        recipe.write_text(yaml.safe_dump({**BASIC, **changes}, sort_keys=False), encoding="utf-8")
        with hushed():
            return run_recipe(load_recipe(recipe), folder, folder / store, allow_code=allow_code, engine=engine)

    return run

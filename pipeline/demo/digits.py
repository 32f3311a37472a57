"""The images of `tamis demo images`: 1,797 scanned digits that come with scikit-learn, written as PNG files."""

from pathlib import Path

from tamis.pipeline.files.atomic import atomic_path
from tamis.pipeline.progress import say
from tamis.pipeline.recipe.extras import require_extra

DIGIT, TARGET_IMAGES, SIDE = "3", 30, 64  # the scans are 8 x 8; larger, a person sees something
RECIPE = """\
# The recipe of `tamis demo images`: find digits that look like those in examples/.
name: demo-images
seed: 0
pool:
  - {{format: images, path: scans, keep: [label]}}
target:
  - {{format: images, path: examples}}
columns:
  look: {{embed: classic}}
steps:
  - exact_dedup: {{}}
  - importance_resampling: {{features: look, budget: {budget}}}
emit: [parquet, keys, webdataset]
"""


def make_digits(folder: Path) -> None:
    """Write scans/DIGIT/NNNN.png, some of one digit to examples/ instead, and the recipe. Raises MissingExtra."""
    require_extra("the image demo", "vision", "PIL", "sklearn")
    from PIL import Image
    from sklearn.datasets import load_digits

    say("pool: 1,797 scanned digits of scikit-learn, as PNG files")
    digits = load_digits()
    held = 0
    for number, (scan, digit) in enumerate(zip(digits.images, digits.target, strict=True)):
        mine = str(digit) == DIGIT and held < TARGET_IMAGES
        held += mine
        path = folder / ("examples" if mine else "scans") / str(digit) / f"{number:04d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray((255 - scan * 15.9).astype("uint8")).resize((SIDE, SIDE), Image.Resampling.NEAREST).save(path)
    budget = int((digits.target == int(DIGIT)).sum()) - TARGET_IMAGES
    with atomic_path(folder / "recipe.yaml", sealed=False) as path:
        path.write_text(RECIPE.format(budget=budget), encoding="utf-8")

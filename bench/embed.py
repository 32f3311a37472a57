"""How near is embedding to what the machine can do? Needs torch, open_clip, pyarrow, pillow and numpy alone.

    python bench/embed.py --images 1000 --side 256 --model ViT-B-32 [--peer PYTHON] [--runs 3]

Makes JPEGs of the real photos (crops, so that no two are alike), in a folder and in tars, and measures images a second:
(a) bare: the model on tensors that are ready, (b) decode: the same workers without a model, (c) tamis from JPEG to
Parquet, from folder and from tars, (d) clip-retrieval's inference, where PYTHON is one that has it (see
bench/peer_clip_retrieval.py). In turns, `--runs` times; medians. Prints one table."""

import argparse
import io
import os
import random
import shutil
import statistics
import subprocess
import sys
import tarfile
import tempfile
import threading
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PHOTOS = Path(os.environ.get("TAMIS_TEST_DATA", ROOT.parent / "shared" / "data")) / "det_coco256_384px.tar"
PER_TAR = 500


def importable() -> None:
    """Let this checkout be `tamis` here and in the decoding workers, installed or not."""
    try:
        import tamis.pipeline.decode.decoders  # noqa: F401
    except ImportError:
        shim = Path(tempfile.mkdtemp(prefix="tamis-shim-"))
        (shim / "tamis").mkdir()
        for folder in ("pipeline", "selectors"):
            (shim / "tamis" / folder).symlink_to(ROOT / folder)
        sys.path.insert(0, str(shim))
        os.environ["PYTHONPATH"] = str(shim)


def make_photos(base: Path, count: int, side: int) -> None:
    """`count` JPEGs whose longer side is `side` pixels, quality 90, in base/folder and base/tars."""
    from PIL import Image

    with tarfile.open(PHOTOS) as tar:
        held = [tar.extractfile(member).read() for member in tar if member.name.endswith(".jpg")]  # type: ignore[union-attr]
    chance = random.Random(0)
    (base / "folder").mkdir()
    (base / "tars").mkdir()
    tar = None
    for number in range(count):
        photo = Image.open(io.BytesIO(held[number % len(held)])).convert("RGB")
        left, top = chance.randrange(photo.width // 8), chance.randrange(photo.height // 8)
        photo = photo.crop((left, top, photo.width - left // 2, photo.height - top // 2))
        scale = side / max(photo.size)
        out = io.BytesIO()
        photo.resize((round(photo.width * scale), round(photo.height * scale))).save(out, "JPEG", quality=90)
        (base / "folder" / f"{number:06d}.jpg").write_bytes(out.getvalue())
        if number % PER_TAR == 0:
            if tar:
                tar.close()
            tar = tarfile.open(base / "tars" / f"{number // PER_TAR:05d}.tar", "w")
        info = tarfile.TarInfo(f"{number:06d}.jpg")
        info.size = len(out.getvalue())
        tar.addfile(info, io.BytesIO(out.getvalue()))
    tar.close()


def encoded(base: Path, form: str) -> list:
    from tamis.pipeline.decode.decoders import BLOCK_IMAGES, Encoded
    from tamis.pipeline.read.images.tars import members

    if form == "folder":
        images = [Encoded(str(path)) for path in sorted((base / "folder").iterdir())]
    else:
        tars = sorted((base / "tars").glob("*.tar"))
        images = [Encoded(str(path), m.offset, m.size) for path in tars for m in members(path)[0]]
    return [(first, images[first : first + BLOCK_IMAGES]) for first in range(0, len(images), BLOCK_IMAGES)]


def bare(model, batch: int, count: int) -> float:
    """Images a second of the model on pixels that are on the device already, in its precision."""
    import numpy as np
    import torch

    from tamis.pipeline.columns.models.torch_models import dtype_of

    tower = model.image_tower
    module, device = tower.modules[0], tower.devices[0]
    height, width = model.plan["size"]
    noise = np.random.default_rng(0).normal(size=(batch, 3, height, width)).astype(np.float32)
    ready = torch.from_numpy(noise).to(device, dtype_of(tower.precision))
    with torch.inference_mode():
        module.encode_image(ready)
        began, done = time.perf_counter(), 0
        while done < count:
            out = module.encode_image(ready)
            done += batch
        out.float().cpu()
    return done / (time.perf_counter() - began)


def decode_alone(base: Path, plan: dict) -> float:
    from tamis.pipeline.decode.decoders import Decoders

    blocks = encoded(base, "folder")
    with Decoders([plan], hashed=False) as decoders:
        next(iter(decoders.blocks(blocks[:1])))[1].release()  # the workers are up
        began, count = time.perf_counter(), 0
        for _, decoded in decoders.blocks(blocks):
            count += len(decoded.images)
            decoded.release()
        return count / (time.perf_counter() - began)


def tamis(base: Path, form: str, model, batch: int) -> tuple[float, float, float]:
    """(images a second, share of the time that the model waited, share that the GPU was busy), workers' start included."""
    import numpy as np
    import pyarrow as pa

    from tamis.pipeline.columns.declared import Maker
    from tamis.pipeline.columns.embed.open_clip import OpenClip
    from tamis.pipeline.columns.filling import Filling
    from tamis.pipeline.decode.passes import ImagePass
    from tamis.pipeline.files.atomic import write_json

    out = base / f"column-{form}"
    shutil.rmtree(out, ignore_errors=True)
    kind = OpenClip(model="ViT-B-32", pretrained="random", outputs=["image"], batch=batch)  # its model is given below
    (output,) = kind.makes(images=True)
    column = Filling(Maker("image", kind, output, {}, {}, base), out)
    column.model = model
    write_json(column.record, {"batch": batch})
    began = time.perf_counter()
    with Busy() as busy, ImagePass([column], hashed=False) as work:
        with column.writer("part-00000.parquet", "") as write:
            for first, facts, (values,) in work.blocks(encoded(base, form)):
                ids = pa.array(np.arange(first, first + len(facts), dtype=np.uint64))
                write(pa.table([ids, values], ["sample_id", "image"]))
        waited = work.share_waited
    count = sum(len(images) for _, images in encoded(base, form))
    return count / (time.perf_counter() - began), waited, busy.share


class Busy:
    """Share of samples, four a second, in which nvidia-smi says that the GPU computes; nothing without one."""

    def __init__(self) -> None:
        self.samples: list[float] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> "Busy":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        asked = ["nvidia-smi", "--query-gpu=utilization.gpu", "--format=csv,noheader,nounits"]
        while shutil.which("nvidia-smi") and not self._stop.wait(0.25):
            answer = subprocess.run(asked, capture_output=True, text=True, check=False).stdout.split()
            self.samples += [float(answer[0]) / 100] if answer else []

    @property
    def share(self) -> float:
        return statistics.mean(self.samples) if self.samples else float("nan")


def peer(python: str, base: Path, form: str, batch: int, model: str) -> float:
    """clip-retrieval's images a second."""
    import torch

    workers = min(torch.get_num_threads(), len(list((base / "tars").glob("*.tar"))))  # more than tars: it fails
    kind, source = ("files", base / "folder") if form == "folder" else ("webdataset", base / "tars")
    script = Path(__file__).with_name("peer_clip_retrieval.py")
    shutil.rmtree(base / "peer", ignore_errors=True)
    command = [python, script, kind, source, base / "peer", str(batch), str(workers), model]
    result = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False)
    found = [line for line in result.stdout.splitlines() if line.startswith("RESULT")]
    if not found:
        raise SystemExit(f"clip-retrieval failed: {result.stderr[-2000:]}")
    _, seconds, rows = found[-1].split()
    return int(rows) / float(seconds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--side", type=int, default=256)
    parser.add_argument("--model", default="ViT-B-32")
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--scaled-decode", action="store_true")
    parser.add_argument("--batch", type=int, help="else found")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--peer", help="a Python that has clip-retrieval")
    asked = parser.parse_args()
    importable()
    from tamis.pipeline.columns.embed.open_clip import ClipModel, OpenClip

    base = Path(tempfile.mkdtemp(prefix="tamis-embed-"))
    make_photos(base, asked.images, asked.side)
    settings = OpenClip(
        model=asked.model, pretrained="random", precision=asked.precision, scaled_decode=asked.scaled_decode
    )
    model = ClipModel(settings, base)
    batch = asked.batch or model.best_batch()
    found: dict[str, list[float]] = {}
    for _ in range(asked.runs):
        found.setdefault("(a) bare forward passes", []).append(bare(model, batch, asked.images))
        found.setdefault("(b) decoding alone", []).append(decode_alone(base, model.plan))
        for form in ("folder", "tars"):
            rate, waited, busy = tamis(base, form, model, batch)
            found.setdefault(f"(c) tamis, {form}", []).append(rate)
            found.setdefault(f"    the model waited, {form}", []).append(waited)
            found.setdefault(f"    the GPU was busy, {form}", []).append(busy)
            if asked.peer:
                found.setdefault(f"(d) clip-retrieval, {form}", []).append(
                    peer(asked.peer, base, form, batch, asked.model)
                )
    where = model.facts
    print(f"{asked.images:,} JPEGs of {asked.side} px, {asked.model}, {where['precision']} on {where['devices']}, batch {batch}, "
          f"{len(os.sched_getaffinity(0))} cores, {asked.runs} runs\n")  # fmt: skip
    middle = {name: statistics.median(values) for name, values in found.items()}
    limit = min(middle["(a) bare forward passes"], middle["(b) decoding alone"])
    print("| | images/s, median (all) | of the smaller of (a) and (b) |\n|---|---|---|")
    for name, value in middle.items():
        if name.startswith("("):
            print(f"| {name} | {value:,.1f} ({', '.join(f'{v:,.1f}' for v in found[name])}) | {value / limit:.0%} |")
        elif value == value:
            print(f"| {name.strip()} | {value:.0%} | |")
    shutil.rmtree(base)


if __name__ == "__main__":
    main()

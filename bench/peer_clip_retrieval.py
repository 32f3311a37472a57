"""clip-retrieval's own inference over a folder or tars, with random weights, for bench/embed.py; prints seconds, images.

    python -m venv peer && peer/bin/pip install clip-retrieval==2.45.0 torch==2.13.0 "setuptools<81"
    peer/bin/python bench/peer_clip_retrieval.py files|webdataset INPUT OUT BATCH WORKERS MODEL

The model is built before the clock starts, and its two logger processes are switched off: both in its favour."""

import torch

schemas = torch.library.Library("torchvision", "FRAGMENT")  # a CPU torch beside the registry's torchvision lacks them
for operator in ("nms", "qnms"):
    try:
        schemas.define(f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    except RuntimeError:
        break


def random_model(clip_model, use_jit=True, device="cpu", clip_cache_path=None):
    import open_clip
    from all_clip.open_clip import OpenClipWrapper

    name = clip_model.split("/")[0]
    torch.manual_seed(0)
    model, _, preprocess = open_clip.create_model_and_transforms(name, pretrained=None, device=device)
    return (
        OpenClipWrapper(inner_model=model, device=device).to(device=device),
        preprocess,
        open_clip.get_tokenizer(name),
    )


class Quiet:
    def __init__(self, *_, **__): ...
    def start(self): ...
    def end(self): ...
    def __call__(self, _stats): ...


def main() -> None:
    import glob
    import importlib
    import os
    import sys
    import time

    import numpy as np

    form, source, out, batch, workers, model = sys.argv[1:]
    loading = importlib.import_module("all_clip.main")
    inference = importlib.import_module("clip_retrieval.clip_inference.main")
    importlib.import_module("clip_retrieval.clip_inference.worker").LoggerWriter = Quiet
    inference.LoggerReader = Quiet
    loading._CLIP_REGISTRY["open_clip:"] = random_model
    name = f"open_clip:{model}/random"
    loading.load_clip(clip_model=name, use_jit=False, warmup_batch_size=int(batch), clip_cache_path=None)
    if form == "webdataset":
        tars = sorted(glob.glob(os.path.join(source, "*.tar")))
        source = tars[0] if len(tars) == 1 else "{" + ",".join(tars) + "}"
    began = time.perf_counter()
    inference.main(
        input_dataset=source, output_folder=out, input_format=form, batch_size=int(batch),
        num_prepro_workers=int(workers), enable_text=False, enable_image=True, enable_metadata=False,
        clip_model=name, use_jit=False,
    )  # fmt: skip
    seconds = time.perf_counter() - began
    rows = sum(len(np.load(path, mmap_mode="r")) for path in glob.glob(os.path.join(out, "img_emb", "*.npy")))
    print(f"RESULT {seconds} {rows}", flush=True)


if __name__ == "__main__":
    main()

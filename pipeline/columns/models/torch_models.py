"""Models of torch as the embedding pass uses them: device and precision settled once, batches copied ahead of the work.

On a GPU, pixels travel as bytes from pinned memory without waiting and are scaled there; the next batch is on its way
while this one computes. Needs torch and numpy alone."""

import copy
import hashlib
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

import numpy as np
import numpy.typing as npt

from tamis.pipeline.decode.passes import TooLarge

Result = Callable[[], npt.NDArray[np.float32]]
FIRST_BATCH, LARGEST_BATCH = 16, 256  # images; a block of decoded images is 256
SLOW_SECONDS = 1.0  # a trial that takes longer is the last
GAIN = 1.03  # a batch twice as large must be 3% faster to be worth its memory


def devices() -> list[str]:
    """Every GPU, else the processor."""
    import torch

    if torch.cuda.is_available():
        return [f"cuda:{number}" for number in range(torch.cuda.device_count())]
    return ["cpu"]


def precision_for(asked: str, device: str) -> str:
    """`auto` is fp16 on a GPU (1e-5 from fp32 in cosine; bf16 is 1e-3) and fp32 on a processor."""
    return asked if asked != "auto" else "fp16" if device.startswith("cuda") else "fp32"


def dtype_of(precision: str) -> Any:
    import torch

    return {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}[precision]


class Forward:
    """A module on one or more devices; `encode` is what to call of it."""

    def __init__(
        self, module: Any, encode: Callable[[Any, Any], Any], precision: str, where: Sequence[str] = ()
    ) -> None:
        self.devices = list(where) or devices()
        self.precision = precision_for(precision, self.devices[0])
        self.encode = encode
        module = module.eval().to(dtype_of(self.precision))
        self.modules = [module.to(self.devices[0])]
        self.modules += [copy.deepcopy(module).to(device) for device in self.devices[1:]]
        self._turn = 0
        self._scales: dict[str, tuple[Any, Any]] = {}

    def pixels(self, array: npt.NDArray[np.uint8], batch: int, mean: Sequence[float], std: Sequence[float]) -> Result:
        """Start [images, height, width, 3] bytes on their way; the result is [images, dim] float32."""

        def scaled(piece: Any, device: str) -> Any:
            offset, scale = self._scale(device, mean, std)
            return (piece.permute(0, 3, 1, 2).float() - offset) / scale

        return self._start([array[i : i + batch] for i in range(0, len(array), batch)], scaled)

    def tokens(self, pieces: Sequence[Any]) -> Result:
        """Start batches of whatever `encode` takes; rows of the results are joined."""
        return self._start(pieces, None)

    def _scale(self, device: str, mean: Sequence[float], std: Sequence[float]) -> tuple[Any, Any]:
        import torch

        if device not in self._scales:
            both = [torch.tensor(values, device=device).view(1, 3, 1, 1) * 255 for values in (mean, std)]
            self._scales[device] = (both[0], both[1])
        return self._scales[device]

    def _start(self, pieces: Sequence[Any], scaled: Callable[[Any, str], Any] | None) -> Result:
        import torch

        module, device = self.modules[self._turn], self.devices[self._turn]
        self._turn = (self._turn + 1) % len(self.devices)
        on_gpu = device.startswith("cuda")
        outs = []
        try:
            with torch.inference_mode():
                for piece in pieces:
                    given = piece
                    if isinstance(piece, np.ndarray):
                        given = torch.from_numpy(np.ascontiguousarray(piece))
                        given = (given.pin_memory() if on_gpu else given).to(device, non_blocking=True)
                        given = scaled(given, device).to(dtype_of(self.precision)) if scaled else given
                    out = self.encode(module, given).float()
                    outs.append(out.to("cpu", non_blocking=True) if on_gpu else out)
                done = None
                if on_gpu:
                    done = torch.cuda.Event()
                    done.record(torch.cuda.current_stream(device))
        except (RuntimeError, MemoryError) as error:
            raise judged(error) from error

        def result() -> npt.NDArray[np.float32]:
            try:
                if done is not None:
                    done.synchronize()
            except RuntimeError as error:
                raise judged(error) from error
            return np.concatenate([out.numpy() for out in outs])

        return result


def judged(error: Exception) -> Exception:
    """Out of memory has its own class on GPUs, and only its words on processors."""
    short = isinstance(error, MemoryError) or any(word in str(error) for word in ("out of memory", "allocate memory"))
    return TooLarge(str(error)) if short else error


def find_batch(trial: Callable[[int], Result]) -> int:
    """The batch size that this machine is best at: doubled while that is faster and fits."""
    best, best_rate, size = FIRST_BATCH, 0.0, FIRST_BATCH
    while size <= LARGEST_BATCH:
        seconds = 0.0
        with suppress(TooLarge):
            trial(size)()  # the first call of a size pays for set-up
            began = time.monotonic()
            trial(size)()
            seconds = time.monotonic() - began
        if not seconds:
            return max(1, best if best_rate else size // 2)
        rate = size / seconds
        if rate < GAIN * best_rate:
            return best
        best, best_rate = size, rate
        if seconds > SLOW_SECONDS:
            return best
        size *= 2
    return best


def weights_digest(module: Any) -> str:
    """128 bits of BLAKE2b over names and values of the weights, whatever file they came from."""
    import torch

    state = hashlib.blake2b(digest_size=16)
    for name, value in sorted(module.state_dict().items()):
        state.update(name.encode())
        state.update(
            value.detach().cpu().contiguous().view(-1).view(dtype=torch.uint8).numpy() if value.numel() else b""
        )
    return state.hexdigest()


_declared: list[Any] = []  # a library's schemas go when it is collected


def declare_operators() -> None:
    """Let torchvision be imported where torch is a CPU build beside the registry's torchvision.

    Its import fails there for want of two operators' schemas; they are declared, not implemented: nothing of ours
    calls them. Raises ImportError where torch is missing."""
    import torch

    try:
        import torchvision  # noqa: F401
    except ImportError:
        return
    except RuntimeError:
        declared = torch.library.Library("torchvision", "FRAGMENT")
        for operator in ("nms", "qnms"):
            declared.define(f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        _declared.append(declared)

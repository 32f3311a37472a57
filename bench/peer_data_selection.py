"""The peer end to end: data-selection 1.0.3 on one pool and target file, two processes, as its README does it."""

import sys

from data_selection import HashedNgramDSIR


def text_of(record: dict[str, str]) -> str:
    return record["text"]


if __name__ == "__main__":
    pool, target, folder, count = sys.argv[1:5]
    dsir = HashedNgramDSIR(
        [pool], [target], cache_dir=f"{folder}/cache", raw_parse_example_fn=text_of, target_parse_example_fn=text_of,
        num_proc=2, min_example_length=0,
    )  # fmt: skip
    dsir.fit_importance_estimator(num_tokens_to_fit="all")
    dsir.compute_importance_weights()
    dsir.resample(out_dir=f"{folder}/out", num_to_sample=int(count), cache_dir=f"{folder}/resampled")

"""The head that predicts classes from vectors: Gaussian discriminant analysis in closed form, or logistic regression.

Wang et al. 2024 (ICLR, "A hard-to-beat baseline for training-free CLIP-based adaptation"): class means mu_c and one
covariance S of all N centred rows; precision = d ((N - 1) S + tr(S) I)^-1 (Kubokawa and Srivastava 2008); logits
w_c x + b_c with w_c = precision mu_c, b_c = -mu_c precision mu_c / 2. With one row a class S is 0, and the precision
the identity: nearest mean. Probabilities are made honest by one temperature, from predictions out of folds. O(N d^2 +
d^3) to fit. Not for classes that curve through the vectors' space: every boundary is a plane."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from tamis.selectors.chance import Ids
from tamis.selectors.learners.folds import FOLDS, alike, fold_of

Floats = npt.NDArray[np.float64]
Shares = npt.NDArray[np.float32]  # of candidates: 4 bytes a candidate and class
BLOCK = 8192  # candidates at once
TEMPERATURES = 2.0 ** np.arange(-6, 7)  # times the logits' spread; that under which rows out of folds are likeliest
INVERSE_RIDGE = 10.0  # of logistic regression on vectors of unit length


PROMPT_SCALE = 100.0  # what CLIP multiplies cosines by before its softmax (Radford et al. 2021)


@dataclass(frozen=True)
class Belief:
    """What is believed of candidates: [candidates, classes] probabilities, each row summing to 1."""

    classes: list[str]
    shares: Shares

    @property
    def best(self) -> npt.NDArray[np.int64]:
        """[candidates] the likeliest class."""
        return self.shares.argmax(1)


def prompted(best: pa.ChunkedArray) -> Belief:
    """From lists of (class, cosine), as open_clip columns hold them: softmax of cosines times 100 over those listed; a
    candidate without a list believes in all alike. Raises ValueError where there are not two classes."""
    flat = pc.list_flatten(best)
    if not pa.types.is_struct(flat.type) or {"class", "cosine"} - {flat.type.field(i).name for i in range(flat.type.num_fields)}:  # fmt: skip  # noqa: E501
        raise ValueError(f"prompts: wanted the class output of an open_clip column with `classes`, found {best.type}")
    names, cosines = pc.struct_field(flat, "class"), pc.struct_field(flat, "cosine").to_numpy()
    classes = sorted(pc.unique(names).to_pylist())
    if len(classes) < 2:
        raise ValueError(f"prompts: wanted two classes or more, found {len(classes)}")
    rows = pc.list_parent_indices(best).to_numpy()
    columns = pc.index_in(names, pa.array(classes)).to_numpy()
    logits = np.full((len(best), len(classes)), -np.inf)
    logits[rows, columns] = PROMPT_SCALE * cosines
    logits[~np.isfinite(logits).any(1)] = 0
    return Belief(classes, softmax(logits).astype(np.float32))


def softmax(logits: Floats) -> Floats:
    shares = np.exp(logits - logits.max(1, keepdims=True))
    return np.asarray(shares / shares.sum(1, keepdims=True))


@dataclass(frozen=True)
class Head:
    """Linear: logits are vectors @ weights + biases, [rows, classes]; probabilities their softmax."""

    classes: list[str]
    weights: Floats  # [dim, classes], divided by the temperature already
    biases: Floats  # [classes]

    def probabilities(self, vectors: npt.NDArray[np.floating]) -> Shares:
        """[rows, classes], each row summing to 1."""
        found = np.empty((len(vectors), len(self.classes)), np.float32)
        for first in range(0, len(vectors), BLOCK):
            some = np.asarray(vectors[first : first + BLOCK], np.float64)
            found[first : first + BLOCK] = softmax(some @ self.weights + self.biases)
        return found


def fit_head(
    vectors: npt.NDArray[np.floating], labels: list[str], contents: Ids, kind: Literal["gda", "logistic"]
) -> Head:
    """A head with a temperature; `contents` [rows] are equal where samples are. Raises ValueError where there are not
    two classes."""
    classes = sorted(set(labels))
    if len(classes) < 2:
        raise ValueError(f"a head needs labels of two classes, found {len(classes)}")
    x, y = np.asarray(vectors, np.float64), np.array([classes.index(label) for label in labels])
    weights, biases = _fit(x, y, len(classes), kind)
    scale = _temperature(y, out_of_folds(x, y, len(classes), contents, kind), x @ weights + biases)
    return Head(classes, weights / scale, biases / scale)


def out_of_folds(
    x: Floats, y: npt.NDArray[np.int64], classes: int, contents: Ids, kind: Literal["gda", "logistic"]
) -> Floats:
    """[rows, classes] logits of each row by a head that saw neither it nor a copy: folds belong to contents, and
    equal vectors to one.

    A class that a fold's other rows don't hold has minus infinity; so has every class where fewer than two are left."""
    fold = fold_of(alike(x, contents))
    logits = np.full((len(x), classes), -np.inf)
    for number in range(FOLDS):
        out = fold == number
        seen = np.unique(y[~out])
        if not out.any() or len(seen) < 2:
            continue
        weights, biases = _fit(x[~out], np.searchsorted(seen, y[~out]), len(seen), kind)
        logits[np.ix_(out, seen)] = x[out] @ weights + biases
    return logits


def unseen_shares(
    x: Floats, y: npt.NDArray[np.int64], classes: int, contents: Ids, kind: Literal["gda", "logistic"]
) -> Floats:
    """[rows, classes] probabilities of each row by a head that did not see it; alike where none could be fitted."""
    logits = out_of_folds(x, y, classes, contents, kind)
    weights, biases = _fit(x, y, classes, kind)
    scale = _temperature(y, logits, x @ weights + biases)
    logits[~np.isfinite(logits).any(1)] = 0
    return softmax(logits / scale)


def _fit(x: Floats, y: npt.NDArray[np.int64], classes: int, kind: str) -> tuple[Floats, Floats]:
    return _gaussian(x, y, classes) if kind == "gda" else _logistic(x, y, classes)


def _gaussian(x: Floats, y: npt.NDArray[np.int64], classes: int) -> tuple[Floats, Floats]:
    means = np.stack([x[y == kind].mean(0) for kind in range(classes)])
    centred = x - means[y]
    spread = centred.T @ centred  # (N - 1) S, up to the factor that the precision takes out again
    total = np.trace(spread) / max(1, len(x) - 1)
    same = total <= 1e-12  # one row a class, or equal rows: nearest mean
    weights = means.T if same else np.linalg.solve(spread + total * np.eye(x.shape[1]), means.T) * x.shape[1]
    return weights, -0.5 * (means.T * weights).sum(0)


def _logistic(x: Floats, y: npt.NDArray[np.int64], classes: int) -> tuple[Floats, Floats]:
    """Softmax regression with a ridge, classes weighted alike, by scikit-learn. Raises ValueError without it."""
    try:
        from sklearn.linear_model import LogisticRegression
    except ImportError as error:
        raise ValueError("head: logistic needs the extra: pip install 'tamis[classify]'") from error
    found = LogisticRegression(C=INVERSE_RIDGE, class_weight="balanced", max_iter=500).fit(x, y)
    if classes > 2:
        return found.coef_.T, found.intercept_
    return np.concatenate([-found.coef_.T, found.coef_.T], 1) / 2, np.array([-1, 1]) * found.intercept_ / 2


def _temperature(y: npt.NDArray[np.int64], logits: Floats, seen: Floats) -> float:
    """What logits are divided by, so that held out rows are likeliest; where none could be held out, their spread over
    the rows that were seen.

    Labels are smoothed by one in n + 2 (Laplace): a few rows that are all right must not make every row certain."""
    known = np.isfinite(logits[np.arange(len(y)), y])
    if not known.any():
        return max(1e-9, float(seen.std()))
    rows, truth = logits[known], y[known]
    doubt = 1 / (len(rows) + 2)
    fits = []
    scales = TEMPERATURES * max(1e-9, float(seen.std()))
    for scale in scales:
        some = (rows - rows.max(1, keepdims=True)) / scale
        with np.errstate(invalid="ignore"):
            logs = some - np.log(np.exp(some).sum(1, keepdims=True))
        right = logs[np.arange(len(truth)), truth]
        others = np.where(np.isfinite(logs), logs, 0).sum(1) / np.maximum(1, np.isfinite(logs).sum(1))
        fits.append(float(((1 - doubt) * right + doubt * others).mean()))
    return float(scales[int(np.argmax(fits))])

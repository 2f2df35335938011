"""From features to an embedding: principal components without what tells the heading.

PCA first, to what the frames span; then an adversarial PCA after the idea of Carson, Talbot and
Carlson (AugmentedPCA, arXiv:2201.02547, with which the original works), in a closed form of its
own: variance counts for a direction, variance that the heading explains counts mu times against it.
Theirs weighs another objective, so its mu (1e2 in the original) cannot be compared with this one.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from jaxtyping import Float, Int
from numpy import ndarray
from sklearn.decomposition import PCA
from sklearn.linear_model import Ridge
from sklearn.metrics import r2_score
from sklearn.model_selection import GridSearchCV, KFold, cross_val_predict

from pose_splatter.errors import PoseSplatterError
from pose_splatter.files import load_fields, save_fields
from pose_splatter.frames import split_frames
from pose_splatter.tracking import Track

SPANNED = 2000  # components that plain PCA keeps at most, as in the original
FITTED = 10_000  # frames that are fitted to at most, evenly spread: more would fill the memory
# Among which cross-validation chooses; under the largest, nothing but the mean is predicted.
RIDGE_PENALTIES = np.logspace(-2, 8, 11)
FOLDS = 5


@dataclass(frozen=True)
class EmbeddingTransforms:
    """Fitted maps from flattened features to the embedding: `(features - mean) @ projection.T`.

    `plain_projection` is the same without the adversary: plain PCA, for comparison.
    `explained_variance` is each component's share of the features' variance.
    """

    mean: Float[ndarray, " feature"]
    projection: Float[ndarray, "component feature"]
    plain_projection: Float[ndarray, "component feature"]
    explained_variance: Float[ndarray, " component"]

    def __call__(
        self, features: Float[ndarray, "frame feature"]
    ) -> Float[ndarray, "frame component"]:
        """The embedding of frames; rows that are NaN, of absent animals, stay NaN."""
        if features.shape[1] != len(self.mean):
            raise PoseSplatterError(
                f"the transforms were fitted to {len(self.mean)} features a frame, not "
                f"{features.shape[1]}; embed both recordings with the same encoder."
            )
        return (features - self.mean) @ self.projection.T

    def plain(self, features: Float[ndarray, "frame feature"]) -> Float[ndarray, "frame component"]:
        """The same by plain PCA, which may know the heading."""
        return (features - self.mean) @ self.plain_projection.T


def fit_transforms(
    features: Float[ndarray, "frame feature"],
    headings: Float[ndarray, "frame concomitant"],
    components: int,
    mu: float,
    seed: int,
) -> EmbeddingTransforms:
    """Fit to frames that show the animal; `headings` are what the embedding must not tell.

    Raises PoseSplatterError where there are too few frames for so many components.
    """
    concomitants = np.linalg.matrix_rank(headings - headings.mean(axis=0))
    if len(features) <= components + concomitants:
        raise PoseSplatterError(
            f"config: embedding: components is {components}, but {len(features)} frames with the "
            f"animal allow {max(len(features) - concomitants - 1, 0)}; lower it."
        )
    spanned = min(SPANNED, len(features) - 1, features.shape[1])
    pca = PCA(spanned, random_state=seed).fit(features)
    scores = pca.transform(features)
    directions = adversarial_directions(scores, headings, components, mu)
    shares = (scores @ directions.T).var(axis=0, ddof=1) / features.var(axis=0, ddof=1).sum()
    return EmbeddingTransforms(
        mean=pca.mean_.astype(np.float32),
        projection=(directions @ pca.components_).astype(np.float32),
        plain_projection=pca.components_[:components].astype(np.float32),
        explained_variance=shares.astype(np.float32),
    )


def adversarial_directions(
    scores: Float[ndarray, "frame feature"],
    headings: Float[ndarray, "frame concomitant"],
    components: int,
    mu: float,
) -> Float[ndarray, "component feature"]:
    """Orthonormal directions W of most Tr(W (C - mu H) W^T), that of most variance first.

    C is the covariance of the scores and H that of what a linear regression on the headings
    predicts of them: the eigenvectors of C - mu H solve it. mu = 0 is plain PCA, mu = 1 counts only
    variance beside the heading's. A direction survives where the heading explains less than 1 / mu
    of its variance, and several such directions together can tell more: mu is better too large.
    """
    scores = scores - scores.mean(axis=0)
    headings = headings - headings.mean(axis=0)
    predicted = headings @ np.linalg.lstsq(headings, scores, rcond=None)[0]
    _, vectors = np.linalg.eigh((scores.T @ scores - mu * predicted.T @ predicted) / len(scores))
    directions = vectors[:, -components:].T
    directions = directions[np.argsort(-(scores @ directions.T).var(axis=0), kind="stable")]
    # An eigenvector has no sign of its own; the largest entry is made positive.
    largest = np.abs(directions).argmax(axis=1)
    return directions * np.sign(directions[np.arange(components), largest])[:, None]


def frames_to_fit(
    animals: Sequence[Track], split: Sequence[float], most: int = FITTED
) -> list[Int[ndarray, " _"]]:
    """Of each recording, the frames that an experiment's transforms are fitted to: all that
    `may_be_fitted`, thinned evenly to an equal share of `most`."""
    frames = [may_be_fitted(animal, split) for animal in animals]
    share = most // len(animals)
    return [of[:: -(-len(of) // share) or 1] for of in frames]


def may_be_fitted(animal: Track, split: Sequence[float]) -> Int[ndarray, " _"]:
    """The frames that show the animal, all but the test frames."""
    return np.flatnonzero(animal.visible[: split_frames(len(animal), split).test.start])


def heading_concomitants(
    angles: Sequence[Float[ndarray, " _"]],
) -> Float[ndarray, "frame concomitant"]:
    """Sine and cosine of the headings (radians) of some recordings, one after the other.

    Every recording has two columns of its own, centred, and zero elsewhere: its world is turned in
    its own way, so what tells the heading in one need not in another.
    """
    columns = np.zeros((sum(map(len, angles)), 2 * len(angles)))
    start = 0
    for recording, headings in enumerate(angles):
        rows = slice(start, start + len(headings))
        pair = np.stack([np.sin(headings), np.cos(headings)], axis=-1)
        columns[rows, 2 * recording : 2 * recording + 2] = pair - pair.mean(axis=0)
        start += len(headings)
    return columns


def heading_r2(
    embedding: Float[ndarray, "frame component"],
    angles: Float[ndarray, " frame"],
    runs: int = FOLDS,
) -> float:
    """How well the heading is told by an embedding: R2 of its sine and cosine by ridge regression.

    Every frame is predicted by a regression that has not seen it nor the frames around it, whose
    penalty is chosen the same way: each of `runs` of frames is left out, since a frame left out
    alone is known from its neighbours in time. 0 or less is no better than the mean heading. Give
    frames that the transforms were not fitted to.
    """
    truth = np.stack([np.sin(angles), np.cos(angles)], axis=-1)
    standard = embedding / embedding.std(axis=0).max()
    regression = GridSearchCV(Ridge(), {"alpha": RIDGE_PENALTIES}, cv=KFold(FOLDS))
    predicted = cross_val_predict(regression, standard, truth, cv=KFold(runs))
    return float(r2_score(truth, predicted))


def measure_heading(
    embeddings: Mapping[str, Float[ndarray, "frame component"]],
    animal: Track,
    fitted: Int[ndarray, " _"],
) -> pd.DataFrame:
    """How well the heading is told by embeddings of a recording, a row each: `heading_r2` over the
    `frames` that show the animal and were not fitted to; NaN where they are too few."""
    frames = np.setdiff1d(np.flatnonzero(animal.visible), fitted)
    enough = len(frames) >= 2 * FOLDS
    rows = [
        {
            "pca": name,
            "frames": len(frames),
            "heading_r2": heading_r2(of[frames], animal.angles[frames]) if enough else np.nan,
        }
        for name, of in embeddings.items()
    ]
    return pd.DataFrame(rows)


def save_transforms(path: str | Path, transforms: EmbeddingTransforms) -> None:
    """Write transforms.npz: the arrays of EmbeddingTransforms by name, no pickle."""
    save_fields(path, transforms)


def load_transforms(path: str | Path) -> EmbeddingTransforms:
    """Read transforms.npz."""
    return load_fields(path, EmbeddingTransforms)

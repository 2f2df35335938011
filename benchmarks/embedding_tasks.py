"""What numbers per frame are good for, where the truth is known: the tasks of embedding.py.

A recording is cut into stretches of time, folds. Every fold in turn is left out, with some time on
either side: transforms and predictors are fitted to the rest and judged on it. Frames of a fold
resemble each other, so its score is one observation: of three or four, a mean has a standard error
that is itself only roughly known.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray
from scipy.ndimage import gaussian_filter1d
from sklearn.kernel_ridge import KernelRidge
from sklearn.linear_model import Ridge, RidgeClassifier
from sklearn.metrics import r2_score
from sklearn.model_selection import GridSearchCV, KFold, LeaveOneGroupOut, cross_val_predict
from sklearn.neighbors import KNeighborsRegressor

from pose_splatter.embedding.transforms import (
    FOLDS,
    RIDGE_PENALTIES,
    fit_transforms,
    heading_concomitants,
    heading_r2,
)

NEIGHBOURS = 3
SMOOTHING = 0.2  # seconds, the deviation of a Gaussian
GAP = 4 * SMOOTHING  # seconds on either side of a fold: as far as smoothing reaches
BEHAVIOURS = ("walk", "turn", "rear", "rest")
PERMUTATIONS = 100
# Stretches of a fold that are left out in turn to tell the heading: as many as the workflow does,
# and shorter ones, of which each has fewer headings that the others lack.
HEADING_RUNS = (5, 10)
# Which joints a group holds.
GROUPS = {
    "spine up-down": r"vertebra_\d_extend",
    "spine sideways": r"vertebra_\d_(bend|twist)",
    "head": r"vertebra_(cervical|a)|atlas|mandible",
    "fore limbs": r"scapula|shoulder|elbow|wrist|finger",
    "hind limbs": r"hip|knee|ankle|toe",
    "tail": r"vertebra_C\d",
}


@dataclass(frozen=True)
class Truth:
    """Joint angles (radians), height of the chest above the floor (mm) and behaviour by frame.

    `bouts` counts the stretches of one behaviour.
    """

    names: tuple[str, ...]
    angles: Float[ndarray, "frame joint"]
    height: Float[ndarray, " frame"]
    behavior: ndarray
    bouts: Int[ndarray, " frame"]

    @classmethod
    def read(cls, path: Path, frames: range) -> "Truth":
        with h5py.File(path) as file:
            behavior = file["behavior"][:].astype(str)[frames]
            return cls(
                names=tuple(file["joint_names"][:].astype(str)),
                angles=file["joint_angles"][:][frames],
                height=(file["chest"][:][frames] - file.attrs["floor_point"]) @ file.attrs["up"],
                behavior=behavior,
                bouts=np.cumsum(np.r_[False, behavior[1:] != behavior[:-1]]),
            )

    @property
    def targets(self) -> Float[ndarray, "frame target"]:
        """What regressions predict: the angles, and the height last."""
        return np.column_stack([self.angles, self.height])

    @property
    def groups(self) -> dict[str, list[int]]:
        """Which targets belong together."""
        groups = {
            group: [i for i, joint in enumerate(self.names) if re.match(pattern, joint)]
            for group, pattern in GROUPS.items()
        }
        return {**groups, "height": [len(self.names)]}


@dataclass(frozen=True)
class Trial:
    """What representations are tried on: frames of known poses and tracked headings (radians).

    `rate` is in frames per second; the frames are cut into so many `folds`. `components` and `seed`
    are those of the embedding.
    """

    truth: Truth
    headings: Float[ndarray, " frame"]
    rate: float
    folds: int
    components: int
    seed: int

    @property
    def fold(self) -> Int[ndarray, " frame"]:
        """In which fold each frame is."""
        return self.folds * np.arange(len(self.headings)) // len(self.headings)

    def splits(self) -> Iterator[tuple[Int[ndarray, " _"], Int[ndarray, " _"]]]:
        """(train, test) frames: every fold left out in turn."""
        frames = np.arange(len(self.headings))
        for fold in range(self.folds):
            test = np.flatnonzero(self.fold == fold)
            gap = GAP * self.rate
            near = (frames >= test[0] - gap) & (frames <= test[-1] + gap)
            yield frames[~near], test


@dataclass(frozen=True)
class Representation:
    """Numbers of every frame; `mu` None means as they are, else PCA with so strong an adversary."""

    features: Float[ndarray, "frame feature"]
    mu: float | None


def evaluate(representation: Representation, trial: Trial) -> dict[str, list[float]]:
    """Every task's scores, one for each fold left out."""
    scores: dict[str, list[float]] = {}
    truth, headings = trial.truth, trial.headings
    for train, test in trial.splits():
        z = embed(representation, trial, train)
        predicted = predict(z, truth, train, test)
        mean = truth.targets[train].mean(axis=0)
        found = {
            name: pooled_r2(predicted[:, of], truth.targets[test][:, of], mean[of])
            for name, of in truth.groups.items()
        }
        found["neighbours"] = neighbour_distance(z, truth.angles, train, test)
        for task, numbers in behaviour_inputs(z, trial.rate).items():
            found[task] = behaviour_accuracy(numbers, trial, train, test)
        for runs in HEADING_RUNS:
            found[f"heading, {runs} runs"] = heading_r2(z[test], headings[test], runs)
        found |= heading_otherwise(z[test], headings[test])
        for name, score in found.items():
            scores.setdefault(name, []).append(score)
    return scores


def heading_otherwise(
    z: Float[ndarray, "frame component"], headings: Float[ndarray, " frame"]
) -> dict[str, float]:
    """R2 of the heading as `heading_r2`, but told by regressions that are not linear."""
    truth = np.stack([np.sin(headings), np.cos(headings)], axis=-1)
    probes = {
        "heading, kernel": GridSearchCV(
            KernelRidge(kernel="rbf"),
            {"alpha": [1e-3, 1e-2, 0.1, 1, 10], "gamma": [0.01, 0.03, 0.1, 0.3]},
            cv=KFold(FOLDS),
        ),
        "heading, 10 neighbours": KNeighborsRegressor(10),
    }
    runs = KFold(HEADING_RUNS[-1])
    return {
        name: float(r2_score(truth, cross_val_predict(probe, z, truth, cv=runs)))
        for name, probe in probes.items()
    }


def embed(
    representation: Representation, trial: Trial, train: Int[ndarray, " _"]
) -> Float[ndarray, "frame component"]:
    """Of all frames, scaled as a whole so that the widest component has a deviation of 1."""
    z, mu = representation.features, representation.mu
    if mu is not None:
        concomitants = heading_concomitants([trial.headings[train]])
        transforms = fit_transforms(z[train], concomitants, trial.components, mu, trial.seed)
        z = transforms(z).astype(float)  # regressions with large penalties need the digits
    return (z - z[train].mean(axis=0)) / z[train].std(axis=0).max()


def predict(
    z: Float[ndarray, "frame component"],
    truth: Truth,
    train: Int[ndarray, " _"],
    test: Int[ndarray, " _"],
) -> Float[ndarray, "test target"]:
    """The targets by ridge regression, each group's penalty from runs of frames within train."""
    known, targets = z[train], truth.targets[train]
    errors = np.stack(
        [
            (cross_val_predict(Ridge(penalty), known, targets, cv=KFold(FOLDS)) - targets) ** 2
            for penalty in RIDGE_PENALTIES
        ]
    ).sum(axis=1)
    penalties = np.empty(targets.shape[1])
    for of in truth.groups.values():
        penalties[of] = RIDGE_PENALTIES[errors[:, of].sum(axis=1).argmin()]
    return Ridge(penalties).fit(known, targets).predict(z[test])


def pooled_r2(
    predicted: Float[ndarray, "test target"],
    truth: Float[ndarray, "test target"],
    mean: Float[ndarray, " target"],
) -> float:
    """R2 of some targets together; 0 is as good as `mean`, which is that of the train frames."""
    return float(1 - ((truth - predicted) ** 2).sum() / ((truth - mean) ** 2).sum())


def pose_distances(
    angles: Float[ndarray, "frame joint"], train: Int[ndarray, " _"], test: Int[ndarray, " _"]
) -> Float[ndarray, "test train"]:
    """Root mean square difference of joint angles, in degrees."""
    differences = angles[test][:, None] - angles[train][None]
    return np.degrees(np.sqrt((differences**2).mean(axis=-1)))


def neighbour_distance(
    z: Float[ndarray, "frame component"],
    angles: Float[ndarray, "frame joint"],
    train: Int[ndarray, " _"],
    test: Int[ndarray, " _"],
) -> float:
    """Mean pose distance (degrees) of test frames to their nearest frames of the others by z."""
    distances = np.linalg.norm(z[test][:, None] - z[train][None], axis=-1)
    nearest = np.argsort(distances, axis=1)[:, :NEIGHBOURS]
    return float(np.take_along_axis(pose_distances(angles, train, test), nearest, 1).mean())


def neighbour_bounds(trial: Trial) -> dict[str, list[float]]:
    """The same for frames drawn at random, and for those whose poses are truly the nearest."""
    chance, best = [], []
    for train, test in trial.splits():
        distances = pose_distances(trial.truth.angles, train, test)
        chance.append(float(distances.mean()))
        best.append(float(np.sort(distances, axis=1)[:, :NEIGHBOURS].mean()))
    return {"chance": chance, "best": best}


def behaviour_inputs(
    z: Float[ndarray, "frame component"], rate: float
) -> dict[str, Float[ndarray, "frame component"]]:
    """What behaviour is told from: single frames, and what they are like for a while."""
    return {"behaviour": z, "behaviour, smoothed": gaussian_filter1d(z, SMOOTHING * rate, axis=0)}


def behaviour_accuracy(
    z: Float[ndarray, "frame component"],
    trial: Trial,
    train: Int[ndarray, " _"],
    test: Int[ndarray, " _"],
) -> float:
    """Balanced accuracy of a linear classifier of frames; its penalty from within train."""
    search = GridSearchCV(
        RidgeClassifier(class_weight="balanced"),
        {"alpha": RIDGE_PENALTIES[:8]},
        scoring="accuracy",  # balanced_accuracy warns where a cut fold lacks a behaviour
        cv=LeaveOneGroupOut(),
    )
    behavior = trial.truth.behavior
    predicted = search.fit(z[train], behavior[train], groups=trial.fold[train]).predict(z[test])
    return float(np.mean([(predicted == b)[behavior[test] == b].mean() for b in BEHAVIOURS]))


def behaviour_chance(representation: Representation, trial: Trial) -> dict[str, list[float]]:
    """Accuracies (means over folds) where the bouts of each fold swap their names at random."""
    generator, truth = np.random.default_rng(trial.seed), trial.truth
    splits = [
        (behaviour_inputs(embed(representation, trial, train), trial.rate), train, test)
        for train, test in trial.splits()
    ]
    accuracies: dict[str, list[float]] = {}
    for _ in range(PERMUTATIONS):
        shuffled = truth.behavior.copy()
        for _, _, test in splits:
            bouts = np.unique(truth.bouts[test])
            names = [truth.behavior[truth.bouts == bout][0] for bout in bouts]
            for bout, name in zip(bouts, generator.permutation(names), strict=True):
                shuffled[truth.bouts == bout] = name
        swapped = replace(trial, truth=replace(truth, behavior=shuffled))
        for task in splits[0][0]:
            each = [behaviour_accuracy(z[task], swapped, *frames) for z, *frames in splits]
            accuracies.setdefault(task, []).append(float(np.mean(each)))
    return accuracies


def summary(scores: list[float]) -> dict[str, Any]:
    """The mean over folds, its standard error, and the scores."""
    error = float(np.std(scores, ddof=1) / np.sqrt(len(scores)))
    return {"mean": float(np.mean(scores)), "error": error, "folds": scores}

"""The tasks that judge an embedding: what is known gets the score that it must get."""

from pathlib import Path

import numpy as np
import pytest
from benchmarks.embedding_tasks import (
    BEHAVIOURS,
    GAP,
    NEIGHBOURS,
    Representation,
    Trial,
    Truth,
    behaviour_accuracy,
    embed,
    heading_otherwise,
    neighbour_bounds,
    neighbour_distance,
    pooled_r2,
    predict,
)

from pose_splatter.embedding.transforms import heading_r2

ROOT = Path(__file__).parents[2]
FRAMES = 150
RATE = 15.0


@pytest.fixture(scope="module")
def trial() -> Trial:
    """Every second frame of the demo."""
    truth = Truth.read(ROOT / "resources/demo/truth.h5", range(0, 300, 2))
    return Trial(truth, np.linspace(0, 6, FRAMES), RATE, folds=3, components=5, seed=0)


@pytest.fixture(scope="module")
def truth(trial) -> Truth:
    return trial.truth


def noise(seed: int, components: int = 20) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(FRAMES, components))


def r2(z: np.ndarray, truth: Truth, train: np.ndarray, test: np.ndarray) -> dict[str, float]:
    """Of every group, in the test frames."""
    predicted, mean = predict(z, truth, train, test), truth.targets[train].mean(axis=0)
    return {
        name: pooled_r2(predicted[:, of], truth.targets[test][:, of], mean[of])
        for name, of in truth.groups.items()
    }


def test_every_joint_is_in_one_group(truth):
    members = sorted(target for of in truth.groups.values() for target in of)
    assert members == list(range(truth.targets.shape[1]))
    spine = [truth.names[target] for target in truth.groups["spine up-down"]]
    assert spine == ["vertebra_1_extend", "vertebra_4_extend"]


def test_height_is_the_chests_above_the_floor(truth):
    rearing = truth.height[truth.behavior == "rear"].max()
    resting = truth.height[truth.behavior == "rest"].mean()
    assert 40 < resting < 80 < rearing < 190


def test_folds_leave_time_on_either_side(trial):
    tested = []
    for train, test in trial.splits():
        assert np.abs(train[:, None] - test[None]).min() == GAP * RATE + 1
        assert len(test) == FRAMES // 3
        assert len(train) >= FRAMES * 2 // 3 - 2 * GAP * RATE
        tested.extend(test)
    assert tested == list(range(FRAMES))


def test_a_linear_code_tells_the_pose_and_noise_does_not(trial, truth):
    train, test = next(trial.splits())
    scale = truth.targets.std(axis=0).max()
    known = r2(truth.targets / scale * 1e3, truth, train, test)
    assert min(known.values()) > 0.999
    unknown = np.mean([list(r2(noise(s), truth, train, test).values()) for s in range(3)])
    assert -0.5 < unknown < 0.05


def test_r2_counts_from_the_mean_of_the_frames_that_were_fitted_to():
    truth = np.array([[1.0], [3.0]])
    assert pooled_r2(truth, truth, np.zeros(1)) == 1
    assert pooled_r2(np.zeros((2, 1)), truth, np.zeros(1)) == 0
    assert pooled_r2(np.full((2, 1), 2.0), truth, np.zeros(1)) == pytest.approx(0.8)


def test_neighbours_lie_between_the_truth_and_chance(trial, truth):
    bounds = neighbour_bounds(trial)
    for i, (train, test) in enumerate(trial.splits()):
        best = neighbour_distance(truth.angles, truth.angles, train, test)
        assert best == pytest.approx(bounds["best"][i])
        lost = [neighbour_distance(noise(s), truth.angles, train, test) for s in range(3)]
        assert np.mean(lost) == pytest.approx(bounds["chance"][i], rel=0.1)
        assert best < 0.7 * bounds["chance"][i]


def test_neighbours_are_frames_of_the_others(trial):
    angles = np.zeros((FRAMES, 1))
    train, test = next(trial.splits())
    angles[test] = np.radians(10)
    assert neighbour_distance(angles, angles, train, test) == pytest.approx(10)
    assert NEIGHBOURS == 3


def test_a_code_of_behaviours_tells_them_and_noise_does_not(trial, truth):
    code = np.eye(len(BEHAVIOURS))[[BEHAVIOURS.index(b) for b in truth.behavior]]
    accuracies = []
    for train, test in trial.splits():
        assert behaviour_accuracy(code, trial, train, test) == 1
        accuracies.append(behaviour_accuracy(noise(0), trial, train, test))
    assert np.mean(accuracies) == pytest.approx(1 / len(BEHAVIOURS), abs=0.12)


def test_other_regressions_find_what_is_not_linear():
    """Twice the angle, and how large it is: no linear regression makes sine and cosine of them."""
    random = np.random.default_rng(0)
    headings = random.uniform(-np.pi, np.pi, FRAMES)
    told = np.stack([np.sin(2 * headings), np.cos(2 * headings), np.abs(headings) / 3], axis=-1)
    assert heading_r2(told[:, :2], headings, 10) < 0.1
    assert min(heading_otherwise(told, headings).values()) > 0.4
    assert max(heading_otherwise(noise(0, 3), headings).values()) < 0.1


def test_transforms_are_fitted_to_train_frames_alone(trial):
    train, test = next(trial.splits())
    features = noise(1, components=40)
    z = embed(Representation(features, 1e4), trial, train)
    features[test] += 7  # changes what becomes of test frames, and of no other
    changed = embed(Representation(features, 1e4), trial, train)
    np.testing.assert_array_equal(z[train], changed[train])
    assert z[train].std(axis=0).max() == pytest.approx(1)

"""Adversarial PCA: keeps what varies, drops what tells the heading, and says how much is left."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter1d

from pose_splatter.embedding.transforms import (
    EmbeddingTransforms,
    adversarial_directions,
    fit_transforms,
    frames_to_fit,
    heading_concomitants,
    heading_r2,
    load_transforms,
    may_be_fitted,
    measure_heading,
    save_transforms,
)
from pose_splatter.errors import PoseSplatterError
from pose_splatter.tracking import Track

MU = 1e4


def leaking(seed: int, frames: int = 400, features: int = 30, leak: float = 3.0):
    """Features of a hidden posture into which the heading leaks linearly, and the two of them."""
    random = np.random.default_rng(seed)
    angles = random.uniform(-np.pi, np.pi, frames)
    posture = random.normal(size=(frames, 4)) * [3.0, 2.0, 1.5, 1.0]
    heading = np.stack([np.sin(angles), np.cos(angles)], axis=-1)
    mixing = random.normal(size=(6, features))
    noise = 0.05 * random.normal(size=(frames, features))
    return np.hstack([posture, leak * heading]) @ mixing + noise + 7.0, angles, posture


def concomitants(angles):
    return heading_concomitants([angles])


@settings(max_examples=5, deadline=None)
@given(st.integers(0, 10_000))
def test_what_leaks_is_removed_from_frames_that_were_not_fitted(seed):
    features, angles, posture = leaking(seed)
    fitted, new = slice(0, 200), slice(200, 400)
    transforms = fit_transforms(features[fitted], concomitants(angles[fitted]), 4, MU, 0)
    assert heading_r2(transforms.plain(features[new]), angles[new]) > 0.3, "there is a leak"
    assert heading_r2(transforms(features[new]), angles[new]) < 0.05
    assert explained(transforms(features[new]), posture[new]) > 0.5, "the posture is kept"


def explained(embedding: np.ndarray, truth: np.ndarray) -> float:
    """The share of the truth's variance that a linear regression on the embedding explains."""
    embedding, truth = embedding - embedding.mean(axis=0), truth - truth.mean(axis=0)
    residual = truth - embedding @ np.linalg.lstsq(embedding, truth, rcond=None)[0]
    return 1 - (residual**2).sum() / (truth**2).sum()


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from([0.0, 1.0, MU, 1e6]))
def test_no_directions_are_better(seed, mu):
    """Of the objective Tr(W (C - mu H) W^T), against random orthonormal directions."""
    features, angles, _ = leaking(seed, frames=60, features=8)
    headings = concomitants(angles)
    best = adversarial_directions(features, headings, 3, mu)
    np.testing.assert_allclose(best @ best.T, np.eye(3), atol=1e-9)

    def objective(directions: np.ndarray) -> float:
        embedding = (features - features.mean(axis=0)) @ directions.T
        centered = headings - headings.mean(axis=0)
        predicted = centered @ np.linalg.lstsq(centered, embedding, rcond=None)[0]
        return (embedding**2).sum() - mu * (predicted**2).sum()

    random = np.random.default_rng(seed)
    for _ in range(5):
        other = np.linalg.qr(random.normal(size=(8, 3)))[0].T
        assert objective(other) <= objective(best) + 1e-6 * abs(objective(best))


def test_without_an_adversary_it_is_plain_pca():
    features, angles, _ = leaking(0)
    transforms = fit_transforms(features, concomitants(angles), 5, 0.0, 0)
    plain = transforms.plain(features)
    np.testing.assert_allclose(np.abs(transforms(features)), np.abs(plain), rtol=1e-2, atol=1e-3)
    assert 0.9 < transforms.explained_variance.sum() <= 1 + 1e-6


@pytest.mark.parametrize("mu", [0.0, 1.0, MU])
def test_components_are_in_order_of_variance(mu):
    """Which is not that of the objective: the most variance may be the heading's."""
    features, angles, _ = leaking(0, leak=10.0)
    transforms = fit_transforms(features, concomitants(angles), 6, mu, 0)
    assert (np.diff(transforms.explained_variance) <= 0).all()


def test_recordings_may_leak_in_their_own_ways():
    first, second = leaking(1), leaking(2)
    features, angles = np.concatenate([first[0], second[0]]), [first[1], second[1]]
    headings = heading_concomitants(angles)
    assert headings.shape == (800, 4)
    assert (headings[:400, 2:] == 0).all()
    assert (headings[400:, :2] == 0).all()
    transforms = fit_transforms(features, headings, 6, MU, 0)
    for recording, truth in ((first[0], first[1]), (second[0], second[1])):
        assert heading_r2(transforms.plain(recording), truth) > 0.3
        assert heading_r2(transforms(recording), truth) < 0.05


def track(angles: np.ndarray, absent: list[int]) -> Track:
    frames = len(angles)
    visible = np.isin(np.arange(frames), absent, invert=True)
    sizes = ((frames, 3), (frames, 3, 3), (frames, 2), (frames, 2))
    centers, covs, radii, spans = (np.zeros(size) for size in sizes)
    return Track(visible, centers, np.where(visible, angles, np.nan), covs, radii, spans)


def test_test_frames_are_not_fitted_and_are_what_is_measured():
    features, angles, _ = leaking(5)
    animal, split = track(angles, absent=[3, 390]), (0.4, 0.3, 0.3)
    fitted = may_be_fitted(animal, split)
    assert fitted.tolist() == [frame for frame in range(280) if frame != 3]
    transforms = fit_transforms(features[fitted], concomitants(angles[fitted]), 4, MU, 0)
    features[[3, 390]] = np.nan
    embeddings = {"plain": transforms.plain(features), "adversarial": transforms(features)}
    table = measure_heading(embeddings, animal, fitted).set_index("pca")
    assert table["frames"].tolist() == [119, 119]
    assert table["heading_r2"]["plain"] > 0.3
    assert table["heading_r2"]["adversarial"] < 0.05
    few = {"plain": transforms.plain(features[:7])}
    elsewhere = measure_heading(few, track(angles[:7], []), np.array([], int))
    assert elsewhere["heading_r2"].isna().all(), "too few frames to tell"


def test_recordings_share_evenly_what_can_be_fitted():
    """Of 280 frames, 279 with the animal, every third; of 40, all; of none, none."""
    none = track(np.zeros(10), absent=list(range(10)))
    animals = [track(np.zeros(400), absent=[3]), track(np.zeros(58), []), none]
    long, short, empty = frames_to_fit(animals, (0.4, 0.3, 0.3), most=300)
    assert long[:3].tolist() == [0, 4, 7]
    assert len(long) == 93
    assert short.tolist() == list(range(len(short)))
    assert len(short) > 30
    assert not len(empty)


def test_a_recording_is_embedded_by_what_others_were_fitted_to():
    """Two recordings are fitted to; a third that leaks alike is embedded as well as they are."""
    features, angles, posture = leaking(6, frames=900)
    parts = [slice(0, 200), slice(200, 400), slice(400, 900)]
    one, other, new = (features[part].astype(np.float32) for part in parts)
    headings = heading_concomitants([angles[part] for part in parts[:2]])
    transforms = fit_transforms(np.concatenate([one, other]), headings, 4, MU, 0)
    assert heading_r2(transforms.plain(new), angles[parts[2]]) > 0.3, "there is a leak"
    assert heading_r2(transforms(new), angles[parts[2]]) < 0.05
    assert explained(transforms(new), posture[parts[2]]) > 0.5, "the posture is kept"
    # The posture is read off alike in both: what was learned of one holds for the other.
    weights = np.linalg.lstsq(transforms(one), posture[parts[0]], rcond=None)[0]
    residual = posture[parts[2]] - transforms(new) @ weights
    assert (residual**2).sum() < 0.5 * (posture[parts[2]] ** 2).sum()


def test_r2_is_1_where_the_heading_is_told_and_0_where_it_is_not():
    random = np.random.default_rng(0)
    angles = random.uniform(-np.pi, np.pi, 300)
    told = np.stack([2 * np.sin(angles) + 1, np.cos(angles) - np.sin(angles)], axis=-1)
    assert heading_r2(told, angles) > 0.99
    assert abs(heading_r2(random.normal(size=(300, 5)), angles)) < 0.1


def test_r2_does_not_count_what_frames_know_from_their_neighbours():
    """Slow drifts beside a slow turn say nothing about the heading another time.

    In shuffled order, where every frame's neighbours are among those fitted to, they seem to.
    """
    random = np.random.default_rng(0)
    angles = np.linspace(0, 25, 300)
    drifts = gaussian_filter1d(random.normal(size=(300, 12)), 10, axis=0)
    shuffled = random.permutation(300)
    assert heading_r2(drifts[shuffled], angles[shuffled]) > 0.5
    assert heading_r2(drifts, angles) < 0.1


def test_saved_transforms_are_the_same(tmp_path):
    features, angles, _ = leaking(3)
    transforms = fit_transforms(features, concomitants(angles), 4, MU, 0)
    save_transforms(tmp_path / "transforms.npz", transforms)
    loaded = load_transforms(tmp_path / "transforms.npz")
    assert isinstance(loaded, EmbeddingTransforms)
    np.testing.assert_array_equal(loaded(features), transforms(features))
    absent = np.full_like(features[:1], np.nan)
    assert np.isnan(loaded(absent)).all()


def test_mistakes_are_named():
    features, angles, _ = leaking(4, frames=20)
    with pytest.raises(PoseSplatterError, match="components is 50, but 20 frames with the animal"):
        fit_transforms(features, concomitants(angles), 50, MU, 0)
    transforms = fit_transforms(features, concomitants(angles), 4, MU, 0)
    with pytest.raises(PoseSplatterError, match="fitted to 30 features a frame, not 7; embed"):
        transforms(features[:, :7])

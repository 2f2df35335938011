"""Fit an experiment's embedding to its training recordings."""

import numpy as np

from pose_splatter.embedding.store import read_features
from pose_splatter.embedding.transforms import (
    fit_transforms,
    frames_to_fit,
    heading_concomitants,
    save_transforms,
)
from pose_splatter.progress import job
from pose_splatter.tracking import load_track

with job(snakemake.log[0]):
    animals = [load_track(path) for path in snakemake.input.center_rotation]
    frames = frames_to_fit(animals, snakemake.params.split)
    features = map(read_features, snakemake.input.features, frames)
    angles = [animal.angles[of] for animal, of in zip(animals, frames, strict=True)]
    transforms = fit_transforms(
        np.concatenate(list(features)), heading_concomitants(angles), **snakemake.params.settings
    )
    save_transforms(snakemake.output[0], transforms)

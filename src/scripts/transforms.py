"""Fit an experiment's embedding to its training recordings."""

from pose_splatter.embedding.store import read_features
from pose_splatter.embedding.transforms import fit_to_recordings, save_transforms
from pose_splatter.progress import job
from pose_splatter.tracking import load_track

with job(snakemake.log[0]):
    transforms = fit_to_recordings(
        [read_features(path) for path in snakemake.input.features],
        [load_track(path) for path in snakemake.input.center_rotation],
        snakemake.params.split,
        **snakemake.params.settings,
    )
    save_transforms(snakemake.output[0], transforms)

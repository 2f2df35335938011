"""Join the parts of a recording's features."""

from pose_splatter.embedding.store import gather_features
from pose_splatter.progress import job

with job(snakemake.log[0]):
    gather_features(snakemake.output[0], snakemake.input)

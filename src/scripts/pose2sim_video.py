"""Bring a video of the walking person back to the size that its camera was calibrated at."""

from pose_splatter.examples import undo_letterbox
from pose_splatter.progress import job

with job(snakemake.log[0]):
    undo_letterbox(snakemake.input[0], snakemake.output[0], **snakemake.params.size)

"""Follow centre and heading of the animal through the whole recording."""

from pose_splatter.progress import job
from pose_splatter.tracking import HullMoments, follow, load_moments, save_track

with job(snakemake.log[0]):
    moments = HullMoments.concatenate([load_moments(part) for part in snakemake.input])
    save_track(snakemake.output[0], follow(moments, snakemake.params.settings["smoothing"]))

"""Join the parts of a recording's renders into rendered_images.h5."""

from pose_splatter.frames import gather_parts
from pose_splatter.progress import job

with job(snakemake.log[0]):
    gather_parts(snakemake.output[0], snakemake.input, arrays=["images"], numbers="frame_index")

"""Write images.zarr from images.h5."""

from pose_splatter.frames import write_zarr
from pose_splatter.progress import job

with job(snakemake.log[0]):
    write_zarr(snakemake.output[0], snakemake.input[0])

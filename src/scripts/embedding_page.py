"""Write the map of all frames of an experiment's recordings as a web page."""

from pose_splatter.embedding.page import write_page
from pose_splatter.embedding.store import read_map
from pose_splatter.frames import FrameStore
from pose_splatter.progress import job

with job(snakemake.log[0]):
    heldout = snakemake.params.heldout
    write_page(
        snakemake.output[0],
        read_map(snakemake.input.table),
        dict(zip(heldout, map(FrameStore.open, snakemake.input.images), strict=True)),
        heldout,
        snakemake.wildcards.experiment,
    )

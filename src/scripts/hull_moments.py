"""Measure the visual hull in one part of a recording."""

from pose_splatter.cameras import load_upright_rig
from pose_splatter.frames import FrameStore, chunk_of
from pose_splatter.progress import job
from pose_splatter.tracking import measure_frames, save_moments

with job(snakemake.log[0]):
    settings = snakemake.params.settings
    rig = load_upright_rig(
        snakemake.input.cameras, snakemake.input.vertical_lines, settings["downsample"]
    )
    store = FrameStore.open(snakemake.input.images)
    moments = measure_frames(
        store,
        rig,
        rig.without(snakemake.params.recording["heldout_cameras"]),
        chunk_of(range(len(store)), snakemake.wildcards.scatteritem),
        settings["tracking_grid"],
    )
    save_moments(snakemake.output[0], moments)

"""Compare one part of the renders of the test frames with the recorded images."""

from pose_splatter.evaluation import Views, evaluate_renders, read_renders, save_table_part
from pose_splatter.frames import FrameStore
from pose_splatter.progress import job
from pose_splatter.tracking import load_track

with job(snakemake.log[0]):
    (heldout,) = snakemake.params.heldout.values()
    store = FrameStore.open(snakemake.input.images[0])
    frames = evaluate_renders(
        read_renders(snakemake.input.renders, snakemake.wildcards.scatteritem),
        store,
        load_track(snakemake.input.center_rotation[0]).visible,
        Views(store.cameras, tuple(heldout)),
    )
    save_table_part(snakemake.output[0], frames)

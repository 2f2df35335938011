"""Measure what carving alone gives, in one part: the silhouettes of the plain visual hull."""

from pose_splatter.cameras import load_upright_rig
from pose_splatter.evaluation import Views, save_table_part
from pose_splatter.frames import FrameStore, chunk_of, split_frames
from pose_splatter.hull import evaluate_hull
from pose_splatter.progress import job
from pose_splatter.tracking import load_track

with job(snakemake.log[0]):
    settings = snakemake.params.settings
    store = FrameStore.open(snakemake.input.images)
    frames = evaluate_hull(
        store,
        load_upright_rig(
            snakemake.input.cameras, snakemake.input.vertical_lines, settings["downsample"]
        ),
        load_track(snakemake.input.center_rotation),
        Views(store.cameras, tuple(snakemake.params.recording["heldout_cameras"])),
        chunk_of(split_frames(len(store), settings["split"]).test, snakemake.wildcards.scatteritem),
    )
    save_table_part(snakemake.output[0], frames)

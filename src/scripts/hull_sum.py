"""Sum the visual hulls, in the animal's frame, over one part's training frames."""

from pose_splatter.cameras import load_upright_rig
from pose_splatter.frames import FrameStore, chunk_of, split_frames
from pose_splatter.progress import job
from pose_splatter.tracking import load_track
from pose_splatter.volume import measure_length, measure_reach, save_hull_sum, sum_hulls

with job(snakemake.log[0]):
    settings = snakemake.params.settings
    rig = load_upright_rig(
        snakemake.input.cameras, snakemake.input.vertical_lines, settings["downsample"]
    )
    store = FrameStore.open(snakemake.input.images)
    training = split_frames(len(store), settings["split"]).train
    animal = load_track(snakemake.input.center_rotation)
    length = settings["ell"]
    total = sum_hulls(
        store,
        rig,
        rig.without(snakemake.params.recording["heldout_cameras"]),
        animal,
        chunk_of(training, snakemake.wildcards.scatteritem),
        settings["grid_size"],
        measure_length(animal, training) if length == "auto" else length,
        measure_reach(animal, training),
    )
    save_hull_sum(snakemake.output[0], total)

"""Find which way is up: by config, or from the animal's path."""

from pose_splatter.cameras import WORLD_AXES, load_cameras, read_lines, save_up, up_from_lines
from pose_splatter.progress import job
from pose_splatter.tracking import estimate_up_from_masks
from pose_splatter.video import load_description

with job(snakemake.log[0]):
    if snakemake.input.lines:
        lines = read_lines(snakemake.input.lines)
        save_up(snakemake.output[0], up_from_lines(lines), lines)
    elif snakemake.params.settings["up"] in WORLD_AXES:
        save_up(snakemake.output[0], WORLD_AXES[snakemake.params.settings["up"]])
    else:
        rig = load_cameras(snakemake.input.cameras)
        observed = rig.without(snakemake.params.settings["heldout_cameras"])
        description = load_description(snakemake.input.videos)
        up = estimate_up_from_masks(
            rig.subset(observed),
            [snakemake.input.masks[camera] for camera in observed],
            description.source_frames,
            [description.offsets[camera] for camera in observed],
        )
        save_up(snakemake.output[0], up)

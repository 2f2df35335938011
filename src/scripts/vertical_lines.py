"""Find which way is up: by config, or from the animal's path, which has to fit the calibration."""

from pose_splatter.cameras import (
    WORLD_AXES,
    estimate_up,
    load_cameras,
    read_lines,
    save_up,
    up_from_lines,
)
from pose_splatter.progress import job
from pose_splatter.tracking import sample_path
from pose_splatter.video import load_description

with job(snakemake.log[0]):
    inputs, settings = snakemake.input, snakemake.params.settings
    rig, description = load_cameras(inputs.cameras), load_description(inputs.videos)
    observed = rig.without(settings["heldout_cameras"])
    path = sample_path(
        rig.subset(observed),
        [inputs.masks[camera] for camera in observed],
        description.source_frames,
        [description.offsets[camera] for camera in observed],
    )
    if inputs.lines:
        lines = read_lines(inputs.lines)
        save_up(snakemake.output[0], up_from_lines(lines), lines)
    elif settings["up"] in WORLD_AXES:
        save_up(snakemake.output[0], WORLD_AXES[settings["up"]])
    else:
        save_up(snakemake.output[0], estimate_up(rig.subset(observed), path))

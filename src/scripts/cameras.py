"""Bring a recording's calibration into one form, and check that its videos belong together."""

from pose_splatter.calibration import read_calibration
from pose_splatter.cameras import save_cameras
from pose_splatter.masks import check_masks
from pose_splatter.progress import job
from pose_splatter.video import describe_recording, save_description, save_indexes

with job(snakemake.log[0]):
    settings = snakemake.params.settings
    description = describe_recording(
        snakemake.input.videos,
        snakemake.input.masks,
        **settings["frames"],
        offsets=[settings["frame_offsets"].get(camera, 0) for camera in settings["cameras"]],
    )
    check_masks(snakemake.input.masks)
    rig = read_calibration(
        settings["calibration"],
        tuple(settings["cameras"]),
        description.width,
        description.height,
    )
    save_cameras(snakemake.output.cameras, rig)
    save_description(snakemake.output.videos, description)
    save_indexes(snakemake.output.index, [*snakemake.input.videos, *snakemake.input.masks])

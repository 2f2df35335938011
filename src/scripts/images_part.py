"""Decode one part of a recording and write its images and masks."""

from pose_splatter.cameras import load_cameras
from pose_splatter.frames import CameraFiles, chunk_of, write_part
from pose_splatter.progress import job
from pose_splatter.video import load_description

with job(snakemake.log[0]):
    rig = load_cameras(snakemake.input.cameras)
    description = load_description(snakemake.input.videos)
    inputs = snakemake.input
    files = zip(inputs.camera_videos, inputs.camera_masks, description.offsets, strict=True)
    write_part(
        snakemake.output[0],
        rig,
        [CameraFiles(name, *of_camera) for name, of_camera in zip(rig.names, files, strict=True)],
        chunk_of(description.source_frames, snakemake.wildcards.scatteritem),
        snakemake.params.settings["downsample"],
        recording=snakemake.wildcards.recording,
        fps=description.fps,
        allow_empty_masks=snakemake.params.recording["empty_masks"] == "absent",
    )

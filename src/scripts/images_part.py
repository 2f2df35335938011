"""Decode one part of a recording and write its images and masks."""

from pose_splatter.cameras import load_cameras
from pose_splatter.frames import CameraFiles, chunk_of, write_part
from pose_splatter.progress import job
from pose_splatter.video import load_description, load_indexes

with job(snakemake.log[0]):
    inputs = snakemake.input
    rig, description = load_cameras(inputs.cameras), load_description(inputs.videos)
    indexes = [i for path in (inputs.index, *inputs.mask_indexes) for i in load_indexes(path)]
    files = zip(
        rig.names,
        inputs.camera_videos,
        inputs.camera_masks,
        description.offsets,
        indexes[: len(rig)],
        indexes[len(rig) :],
        strict=True,
    )
    write_part(
        snakemake.output[0],
        rig,
        [CameraFiles(*of_camera) for of_camera in files],
        chunk_of(description.source_frames, snakemake.wildcards.scatteritem),
        snakemake.params.settings["downsample"],
        recording=snakemake.wildcards.recording,
        fps=description.fps,
        allow_empty_masks=snakemake.params.recording["empty_masks"] == "absent",
    )

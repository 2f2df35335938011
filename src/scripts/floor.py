"""Find the floor of a recording by the shadows that all observed cameras see on it."""

from pose_splatter.cameras import load_cameras
from pose_splatter.progress import job
from pose_splatter.segmentation.floor import save_floor
from pose_splatter.segmentation.foreground import ForegroundSettings
from pose_splatter.segmentation.recording import (
    BackgroundSegmenter,
    find_recording_floor,
    load_model,
)
from pose_splatter.video import load_description

with job(snakemake.log[0]):
    inputs, params = snakemake.input, snakemake.params
    rig, description = load_cameras(inputs.cameras), load_description(inputs.videos)
    segmenter = BackgroundSegmenter(
        [load_model(path) for path in inputs.backgrounds], ForegroundSettings(**params.settings)
    )
    floor = find_recording_floor(
        rig,
        rig.without(params.recording["heldout_cameras"]),
        inputs.camera_videos,
        segmenter,
        description.offsets,
        description.source_frames,
    )
    save_floor(snakemake.output[0], floor)

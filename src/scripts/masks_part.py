"""Make the masks of all cameras in one part of a recording."""

from pose_splatter.cameras import load_cameras
from pose_splatter.frames import chunk_of
from pose_splatter.progress import job
from pose_splatter.segmentation.recording import make_segmenter, write_mask_part
from pose_splatter.segmentation.vote import Vote
from pose_splatter.synchronization import frames_with_masks
from pose_splatter.video import load_description, load_indexes

with job(snakemake.log[0]):
    inputs, recording = snakemake.input, snakemake.params.recording
    rig, description = load_cameras(inputs.cameras), load_description(inputs.videos)
    observed = rig.without(recording["heldout_cameras"])
    frames = frames_with_masks(description.source_frames)
    part = chunk_of(range(len(frames)), snakemake.wildcards.scatteritem)
    write_mask_part(
        snakemake.output[0],
        inputs.camera_videos,
        make_segmenter(
            rig,
            observed,
            **snakemake.params.settings,
            backgrounds=inputs.backgrounds,
            floor=inputs.floor or None,
            weights=inputs.weights,
        ),
        Vote.of(rig, observed),
        description.offsets,
        frames,
        frames[part.start : part.stop],
        load_indexes(inputs.index),
    )

"""Render the test frames of a recording by an experiment's model."""

from pose_splatter.checkpoints import load_checkpoint
from pose_splatter.dataset import load_recordings
from pose_splatter.frames import split_frames
from pose_splatter.progress import job
from pose_splatter.rendering import write_renders
from pose_splatter.training import choose_device, use_threads

with job(snakemake.log[0]):
    inputs = snakemake.input
    (recording,) = load_recordings(snakemake.params.heldout, inputs)
    device = choose_device(snakemake.params.device)
    use_threads(snakemake.threads)
    write_renders(
        snakemake.output[0],
        load_checkpoint(inputs.checkpoint).model(device),
        recording,
        split_frames(len(recording.store), snakemake.params.split).test,
        device,
    )

"""Render the test frames of a recording by an experiment's model."""

from pose_splatter.devices import own_gpus
from pose_splatter.frames import split_frames
from pose_splatter.progress import job
from pose_splatter.rendering import apply_model, write_renders

with job(snakemake.log[0]), own_gpus(snakemake.resources.gpu, snakemake.log[0]):
    inputs, params = snakemake.input, snakemake.params
    model, recording, device = apply_model(
        inputs.checkpoint, params.heldout, inputs, params.device, snakemake.threads
    )
    write_renders(
        snakemake.output[0],
        model,
        recording,
        split_frames(len(recording.store), params.split).test,
        device,
    )

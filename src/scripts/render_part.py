"""Render one part of a recording's test frames by an experiment's model."""

from pose_splatter.devices import own_gpus
from pose_splatter.frames import chunk_of, split_frames
from pose_splatter.progress import job
from pose_splatter.rendering import apply_model, write_renders

with job(snakemake.log[0]), own_gpus(snakemake.resources.gpu, snakemake.log[0]):
    inputs, params = snakemake.input, snakemake.params
    model, recording, device = apply_model(
        inputs.checkpoint, params.heldout, inputs, params.device, snakemake.threads
    )
    test = split_frames(len(recording.store), params.split).test
    frames = chunk_of(test, snakemake.wildcards.scatteritem)
    write_renders(snakemake.output[0], model, recording, frames, device)

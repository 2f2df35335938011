"""Export the Gaussians of some frames for other programs."""

from pose_splatter.devices import own_gpus
from pose_splatter.export import choose_frames, write_export
from pose_splatter.frames import split_frames
from pose_splatter.progress import job
from pose_splatter.rendering import apply_model
from pose_splatter.video import load_description

with job(snakemake.log[0]), own_gpus(snakemake.resources.gpu, snakemake.log[0]):
    inputs, params = snakemake.input, snakemake.params
    model, recording, device = apply_model(
        inputs.checkpoint, params.heldout, inputs, params.device, snakemake.threads
    )
    frames = choose_frames(
        **params.settings,
        source_frames=recording.store.source_frames,
        test=split_frames(len(recording.store), params.split).test,
    )
    write_export(
        snakemake.output[0],
        model,
        recording,
        frames,
        load_description(inputs.videos[0]).fps,
        device,
    )

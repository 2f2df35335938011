"""Render the frames that config asks for, and draw each beside what was recorded."""

import pandas as pd

from pose_splatter.devices import own_gpus
from pose_splatter.frames import split_frames
from pose_splatter.gallery import choose_frames, plot_shots, take_shots, write_shots
from pose_splatter.plots import save_figure
from pose_splatter.progress import job
from pose_splatter.rendering import apply_model

with job(snakemake.log[0]), own_gpus(snakemake.resources.gpu, snakemake.log[0]):
    inputs, params = snakemake.input, snakemake.params
    model, recording, device = apply_model(
        inputs.checkpoint, params.heldout, inputs, params.device, snakemake.threads
    )
    store = recording.store
    shots = take_shots(
        model,
        recording,
        choose_frames(params.frames, pd.read_csv(inputs.metrics), store),
        split_frames(len(store), params.split),
        device,
    )
    heldout = params.heldout[recording.name]
    title = f"{snakemake.wildcards.experiment} on {recording.name}"
    write_shots(snakemake.output.frames, shots, store.cameras, heldout, title, **params.plots)
    figure = plot_shots(shots, store.cameras, heldout, title)
    save_figure(snakemake.output.grid, figure, **params.plots)

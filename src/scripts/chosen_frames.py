"""Render the frames that config asks for, and draw each beside what was recorded."""

import pandas as pd

from pose_splatter.checkpoints import load_checkpoint
from pose_splatter.dataset import load_recording
from pose_splatter.frames import split_frames
from pose_splatter.gallery import choose_frames, plot_shots, take_shots, write_shots
from pose_splatter.plots import save_figure
from pose_splatter.progress import job
from pose_splatter.training import choose_device, use_threads

with job(snakemake.log[0]):
    ((name, heldout),) = snakemake.params.heldout.items()
    inputs, params = snakemake.input, snakemake.params
    recording = load_recording(
        name,
        heldout,
        inputs.images[0],
        inputs.center_rotation[0],
        inputs.crop[0],
        inputs.cameras[0],
        inputs.vertical_lines[0],
    )
    store, device = recording.store, choose_device(params.device)
    use_threads(snakemake.threads)
    shots = take_shots(
        load_checkpoint(inputs.checkpoint).model(device),
        recording,
        choose_frames(params.frames, pd.read_csv(inputs.metrics), store),
        split_frames(len(store), params.split),
        device,
    )
    title = f"{snakemake.wildcards.experiment} on {name}"
    write_shots(snakemake.output.frames, shots, store.cameras, heldout, title, **params.plots)
    figure = plot_shots(shots, store.cameras, heldout, title)
    save_figure(snakemake.output.grid, figure, **params.plots)

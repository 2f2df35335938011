"""Draw a typical test frame's carved volume, refined volume and Gaussians from three sides."""

import pandas as pd

from pose_splatter.evaluation import typical_frame
from pose_splatter.plots import save_figure
from pose_splatter.progress import job
from pose_splatter.rendering import apply_model, decode_frame
from pose_splatter.sides import plot_sides

with job(snakemake.log[0]):
    inputs, params = snakemake.input, snakemake.params
    model, recording, device = apply_model(
        inputs.checkpoint, params.heldout, inputs, params.device, snakemake.threads
    )
    frame = typical_frame(pd.read_csv(inputs.metrics))
    number = recording.store.source_frames[frame]
    figure = plot_sides(
        *decode_frame(model, recording, frame, device),
        recording,
        title=f"{snakemake.wildcards.experiment} on {recording.name}, test frame {number}",
    )
    save_figure(snakemake.output[0], figure, **params.plots)

"""Draw truth against prediction for a typical test frame."""

import pandas as pd

from pose_splatter.evaluation import read_render, typical_frame
from pose_splatter.frames import FrameStore
from pose_splatter.plots import plot_truth_against_prediction, save_figure
from pose_splatter.progress import job

with job(snakemake.log[0]):
    (heldout,) = snakemake.params.heldout.values()
    store = FrameStore.open(snakemake.input.images[0])
    frame = typical_frame(pd.read_csv(snakemake.input.metrics))
    figure = plot_truth_against_prediction(
        store.read_images(frame),
        store.read_masks(frame),
        read_render(snakemake.input.renders, frame),
        store.cameras,
        heldout,
        title=f"{snakemake.wildcards.experiment} on {snakemake.wildcards.recording}, "
        f"source frame {store.source_frames[frame]}",
    )
    save_figure(snakemake.output[0], figure, **snakemake.params.settings)

"""Draw an experiment's training curves."""

import pandas as pd

from pose_splatter.plots import plot_training, save_figure
from pose_splatter.progress import job

with job(snakemake.log[0]):
    figure = plot_training(pd.read_csv(snakemake.input[0]))
    save_figure(snakemake.output[0], figure, **snakemake.params.settings)

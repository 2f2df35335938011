"""Compare experiments with a named baseline."""

from pathlib import Path

import pandas as pd

from pose_splatter.comparison import Outcome, compare, to_markdown
from pose_splatter.comparison_plots import plot_experiments
from pose_splatter.evaluation import write_table
from pose_splatter.files import save_text
from pose_splatter.plots import save_figure
from pose_splatter.progress import job

with job(snakemake.log[0]):
    inputs, params = snakemake.input, snakemake.params
    rows = zip(params.outcomes, inputs.metrics, inputs.logs, inputs.checkpoints, strict=True)
    outcomes = [
        Outcome(
            experiment,
            recording,
            pd.read_csv(metrics),
            pd.read_csv(log),
            Path(checkpoint).stat().st_size,
            params.settings[experiment],
        )
        for (experiment, recording), metrics, log, checkpoint in rows
    ]
    table = compare(outcomes, params.baseline)
    write_table(snakemake.output.csv, table)
    save_text(snakemake.output.markdown, to_markdown(table, params.baseline))
    save_figure(snakemake.output.figure, plot_experiments(table, params.baseline), **params.plots)

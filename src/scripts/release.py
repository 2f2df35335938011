"""Pack an experiment's model to give away."""

import pandas as pd

from pose_splatter import __version__
from pose_splatter.checkpoints import load_checkpoint, model_card, write_release
from pose_splatter.comparison import metrics_markdown
from pose_splatter.progress import job

with job(snakemake.log[0]):
    checkpoint = load_checkpoint(snakemake.input.checkpoint)
    tables = {
        recording: metrics_markdown(pd.read_csv(metrics))
        for recording, metrics in zip(
            snakemake.params.recordings, snakemake.input.metrics, strict=True
        )
    }
    card = model_card(snakemake.wildcards.experiment, checkpoint, tables, __version__)
    write_release(snakemake.output[0], checkpoint, card)

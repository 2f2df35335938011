"""Say what an experiment's metrics on a recording mean, in tables and pictures."""

from pose_splatter.analysis import analyse, read_metrics, read_pictures, to_json, to_markdown
from pose_splatter.analysis_plots import (
    plot_distribution,
    plot_frames,
    plot_metrics_by_camera,
    plot_metrics_per_frame,
)
from pose_splatter.files import save_json, save_text
from pose_splatter.frames import FrameStore
from pose_splatter.plots import save_figure
from pose_splatter.progress import job

with job(snakemake.log[0]):
    inputs, outputs, params = snakemake.input, snakemake.output, snakemake.params
    experiment, recording = snakemake.wildcards.experiment, snakemake.wildcards.recording
    cameras, frames = read_metrics(inputs.cameras), read_metrics(inputs.frames)
    baseline = (params.baseline, read_metrics(inputs.baseline)) if inputs.baseline else None
    analysis = analyse(experiment, recording, cameras, frames, baseline)
    save_json(outputs.json, to_json(analysis))
    save_text(outputs.markdown, to_markdown(analysis))
    title, store = f"{experiment} on {recording}", FrameStore.open(inputs.images[0])
    worst, best = (
        read_pictures(rows, store, inputs.renders) for rows in (analysis.worst, analysis.best)
    )
    for path, figure in (
        (outputs.per_frame, plot_metrics_per_frame(frames, title)),
        (outputs.by_camera, plot_metrics_by_camera(cameras, title)),
        (outputs.distribution, plot_distribution(frames, title)),
        (outputs.worst, plot_frames(worst, f"{title}: the worst frames, worst first")),
        (outputs.best, plot_frames(best, f"{title}: the best frames, best first")),
    ):
        save_figure(path, figure, **params.plots)

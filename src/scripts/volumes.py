"""Draw a typical test frame's carved volume, refined volume and Gaussians from three sides."""

from pose_splatter.evaluation import read_frame_metrics, typical_frame
from pose_splatter.plots import frame_label, save_figure
from pose_splatter.progress import job
from pose_splatter.rendering import apply_model, decode_frame
from pose_splatter.sides import plot_sides

with job(snakemake.log[0]):
    inputs, params = snakemake.input, snakemake.params
    model, recording, device = apply_model(
        inputs.checkpoint, params.heldout, inputs, params.device, snakemake.threads
    )
    frame = typical_frame(*read_frame_metrics(inputs.metrics, inputs.baseline))
    label = frame_label(recording.store.source_frames[frame])
    figure = plot_sides(
        *decode_frame(model, recording, frame, device),
        recording,
        title=f"{snakemake.wildcards.experiment} on {recording.name}, {label}",
    )
    save_figure(snakemake.output[0], figure, **params.plots)

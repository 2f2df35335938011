"""Draw truth against prediction for a typical test frame."""

from pose_splatter.evaluation import read_frame_metrics, read_render, typical_frame
from pose_splatter.frames import FrameStore
from pose_splatter.plots import frame_label, plot_truth_against_prediction, save_figure
from pose_splatter.progress import job

with job(snakemake.log[0]):
    (heldout,) = snakemake.params.heldout.values()
    inputs = snakemake.input
    store = FrameStore.open(inputs.images[0])
    frame = typical_frame(*read_frame_metrics(inputs.metrics, inputs.baseline))
    figure = plot_truth_against_prediction(
        store.read_images(frame),
        store.read_masks(frame),
        read_render(inputs.renders, frame),
        store.cameras,
        heldout,
        title=f"{snakemake.wildcards.experiment} on {snakemake.wildcards.recording}, "
        f"{frame_label(store.source_frames[frame])}",
    )
    save_figure(snakemake.output[0], figure, **snakemake.params.settings)

"""Find cameras that are off by whole frames, and say how to correct them."""

from pose_splatter.cameras import load_cameras
from pose_splatter.plots import save_figure
from pose_splatter.progress import job
from pose_splatter.synchronization import check_recording, save_synchronization
from pose_splatter.synchronization_plots import plot_synchronization
from pose_splatter.video import load_description

with job(snakemake.log[0]):
    inputs, output, settings = snakemake.input, snakemake.output, snakemake.params.settings
    found = check_recording(
        load_cameras(inputs.cameras),
        inputs.masks,
        load_description(inputs.videos),
        settings["heldout_cameras"],
        snakemake.wildcards.recording,
    )
    save_synchronization(output.json, found)
    save_figure(
        output.figure,
        plot_synchronization(found, settings["heldout_cameras"]),
        **snakemake.params.plots,
    )

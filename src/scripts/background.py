"""Learn what one camera sees without the animal, and how shadows look in it."""

from pose_splatter.progress import job
from pose_splatter.segmentation.foreground import ForegroundSettings
from pose_splatter.segmentation.recording import model_camera, save_model
from pose_splatter.video import load_description

with job(snakemake.log[0]):
    frames = load_description(snakemake.input.videos).source_frames
    settings = ForegroundSettings(**snakemake.params.settings)
    inputs = snakemake.input
    model = model_camera(inputs.video, frames, settings, inputs.empty_scene or None)
    save_model(snakemake.output[0], model)

"""Film the animal from where no camera stood: one frame from all around, and a flight in time."""

from pose_splatter.evaluation import read_frame_metrics
from pose_splatter.files import save_text
from pose_splatter.frames import split_frames
from pose_splatter.movies import frame_rate, movie_page, write_video
from pose_splatter.novel_views import (
    TURNTABLE_RATE,
    Flight,
    bullet_time,
    turntable,
    turntable_frame,
)
from pose_splatter.plots import frame_label
from pose_splatter.progress import job
from pose_splatter.rendering import apply_model
from pose_splatter.video import load_description

with job(snakemake.log[0]):
    inputs, params = snakemake.input, snakemake.params
    model, recording, device = apply_model(
        inputs.checkpoint, params.heldout, inputs, params.device, snakemake.threads
    )
    frame = turntable_frame(
        params.turntable, recording, *read_frame_metrics(inputs.metrics, inputs.baseline)
    )
    description = load_description(inputs.videos[0])
    test = split_frames(len(recording.store), params.split).test
    outputs = snakemake.output
    write_video(outputs.turntable, turntable(model, recording, frame, device), TURNTABLE_RATE)
    write_video(
        outputs.bullet_time,
        bullet_time(model, recording, test, Flight(**params.flight), description.fps, device),
        frame_rate(description),
    )
    movies = {
        f"{frame_label(recording.store.source_frames[frame])} from all around": outputs.turntable,
        "the test frames, the camera circling": outputs.bullet_time,
    }
    page = movie_page(f"{snakemake.wildcards.experiment} on {recording.name}", movies)
    save_text(outputs.page, page)

"""Mask videos where a recording has none: converted from other formats, or made from its videos."""

# The masks of all cameras in runs of frames, as mask_sources wants them: one brace left.
MASK_PARTS = gather.chunk("results/recordings/{{recording}}/masks/parts/masks.{scatteritem}.h5")


rule background:
    input:
        video=video_file,
        videos=f"{RECORDING}/videos.json",
        empty_scene=empty_scene,
    output:
        f"{RECORDING}/masks/{{camera}}.background.npz",
    log:
        "logs/background/{recording}.{camera}.log",
    benchmark:
        "results/benchmarks/background/{recording}.{camera}.tsv"
    conda:
        "../envs/cpu.yaml"
    params:
        settings=segmentation_settings("threshold", "shadow"),
        code=code_of("background"),
    message:
        "{rule}: Learning what camera {wildcards.camera} of {wildcards.recording} sees without animal"
    script:
        "../src/scripts/background.py"


rule floor:
    input:
        cameras=f"{RECORDING}/cameras.h5",
        videos=f"{RECORDING}/videos.json",
        camera_videos=video_files,
        backgrounds=camera_backgrounds,
    output:
        f"{RECORDING}/masks/floor.npz",
    log:
        "logs/floor/{recording}.log",
    benchmark:
        "results/benchmarks/floor/{recording}.tsv"
    conda:
        "../envs/cpu.yaml"
    params:
        settings=segmentation_settings("threshold", "shadow"),
        recording=settings("recording", "heldout_cameras"),
        code=code_of("floor"),
    message:
        "{rule}: Finding the floor of {wildcards.recording} by the shadows on it"
    script:
        "../src/scripts/floor.py"


rule masks_part:
    input:
        cameras=f"{RECORDING}/cameras.h5",
        videos=f"{RECORDING}/videos.json",
        index=f"{RECORDING}/video_index.npz",
        camera_videos=video_files,
        backgrounds=camera_backgrounds,
        floor=floor_file,
        weights=segmentation_weights,
    output:
        temp(f"{RECORDING}/masks/parts/masks.{{scatteritem}}.h5"),
    log:
        "logs/masks_part/{recording}.{scatteritem}.log",
    benchmark:
        "results/benchmarks/masks_part/{recording}.{scatteritem}.tsv"
    conda:
        "../envs/cpu.yaml"
    params:
        settings=segmentation_settings("method", "threshold", "shadow"),
        recording=settings("recording", "heldout_cameras"),
        code=code_of("masks_part"),
    message:
        "{rule}: Making masks in part {wildcards.scatteritem} of {wildcards.recording}"
    script:
        "../src/scripts/masks_part.py"


rule mask_video:
    input:
        video=video_file,
        masks=mask_sources,
    output:
        masks=f"{RECORDING}/masks/{{camera}}.mkv",
        index=f"{RECORDING}/masks/{{camera}}.index.npz",
    log:
        "logs/mask_video/{recording}.{camera}.log",
    benchmark:
        "results/benchmarks/mask_video/{recording}.{camera}.tsv"
    conda:
        "../envs/cpu.yaml"
    params:
        settings=settings("recording", "masks", "cameras"),
        code=code_of("mask_video"),
    message:
        "{rule}: Writing the masks of camera {wildcards.camera} of {wildcards.recording} as a video"
    script:
        "../src/scripts/mask_video.py"

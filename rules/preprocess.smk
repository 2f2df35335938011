"""From videos, masks and calibration to the stores and poses that experiments share."""


rule cameras:
    input:
        calibration=calibration_files,
        videos=video_files,
        masks=given_masks,
    output:
        cameras=f"{RECORDING}/cameras.h5",
        videos=f"{RECORDING}/videos.json",
        index=f"{RECORDING}/video_index.npz",
    log:
        "logs/cameras/{recording}.log",
    benchmark:
        "results/benchmarks/cameras/{recording}.tsv"
    conda:
        "../envs/cpu.yaml"
    params:
        settings=settings("recording", "calibration", "cameras", "frames", "frame_offsets"),
        code=code_of("cameras"),
    message:
        "{rule}: Checking the videos and the calibration of {wildcards.recording}"
    script:
        "../src/scripts/cameras.py"


rule vertical_lines:
    input:
        cameras=f"{RECORDING}/cameras.h5",
        videos=f"{RECORDING}/videos.json",
        masks=mask_videos,
        lines=lines_file,
    output:
        f"{RECORDING}/vertical_lines.npz",
    log:
        "logs/vertical_lines/{recording}.log",
    benchmark:
        "results/benchmarks/vertical_lines/{recording}.tsv"
    conda:
        "../envs/cpu.yaml"
    params:
        settings=settings("recording", "heldout_cameras", "up"),
        code=code_of("vertical_lines"),
    message:
        "{rule}: Finding which way is up in {wildcards.recording}"
    script:
        "../src/scripts/vertical_lines.py"


rule synchronization:
    input:
        cameras=f"{RECORDING}/cameras.h5",
        videos=f"{RECORDING}/videos.json",
        masks=mask_videos,
    output:
        json=f"{RECORDING}/synchronization.json",
        figure=report(
            f"{RECORDING}/synchronization.png",
            category="Recording",
            caption="captions/synchronization.rst",
            labels={"recording": "{recording}", "figure": "synchronization"},
        ),
    log:
        "logs/synchronization/{recording}.log",
    benchmark:
        "results/benchmarks/synchronization/{recording}.tsv"
    conda:
        "../envs/cpu.yaml"
    params:
        settings=settings("recording", "heldout_cameras"),
        plots=config["plots"],
        code=code_of("synchronization"),
    message:
        "{rule}: Checking that the cameras of {wildcards.recording} are in step"
    script:
        "../src/scripts/synchronization.py"


rule images_part:
    input:
        cameras=f"{RECORDING}/cameras.h5",
        videos=f"{RECORDING}/videos.json",
        index=f"{RECORDING}/video_index.npz",
        mask_indexes=indexes_of_made_masks,
        camera_videos=video_files,
        camera_masks=mask_videos,
    output:
        temp(f"{PREPROCESSED}/parts/images.{{scatteritem}}.h5"),
    log:
        "logs/images_part/{recording}.{preset}.{scatteritem}.log",
    benchmark:
        "results/benchmarks/images_part/{recording}.{preset}.{scatteritem}.tsv"
    conda:
        "../envs/cpu.yaml"
    params:
        settings=settings("preset", "downsample"),
        recording=settings("recording", "empty_masks"),
        code=code_of("images_part"),
    message:
        "{rule}: Decoding part {wildcards.scatteritem} of {wildcards.recording}"
    script:
        "../src/scripts/images_part.py"


rule images:
    input:
        gather.chunk(f"{GATHERED}/images.{{scatteritem}}.h5"),
    output:
        f"{PREPROCESSED}/images.h5",
    log:
        "logs/images/{recording}.{preset}.log",
    benchmark:
        "results/benchmarks/images/{recording}.{preset}.tsv"
    conda:
        "../envs/cpu.yaml"
    params:
        code=code_of("images"),
    message:
        "{rule}: Joining the images of {wildcards.recording}"
    script:
        "../src/scripts/images.py"


rule images_zarr:
    input:
        f"{PREPROCESSED}/images.h5",
    output:
        directory(f"{PREPROCESSED}/images.zarr"),
    log:
        "logs/images_zarr/{recording}.{preset}.log",
    benchmark:
        "results/benchmarks/images_zarr/{recording}.{preset}.tsv"
    conda:
        "../envs/cpu.yaml"
    params:
        code=code_of("images_zarr"),
    message:
        "{rule}: Laying out the images of {wildcards.recording} for random access"
    script:
        "../src/scripts/images_zarr.py"


rule hull_moments:
    input:
        images=f"{PREPROCESSED}/images.zarr",
        cameras=f"{RECORDING}/cameras.h5",
        vertical_lines=f"{RECORDING}/vertical_lines.npz",
    output:
        temp(f"{PREPROCESSED}/parts/moments.{{scatteritem}}.npz"),
    log:
        "logs/hull_moments/{recording}.{preset}.{scatteritem}.log",
    benchmark:
        "results/benchmarks/hull_moments/{recording}.{preset}.{scatteritem}.tsv"
    conda:
        "../envs/cpu.yaml"
    params:
        settings=settings("preset", "downsample", "tracking_grid"),
        recording=settings("recording", "heldout_cameras"),
        code=code_of("hull_moments"),
    message:
        "{rule}: Measuring the visual hull in part {wildcards.scatteritem} of {wildcards.recording}"
    script:
        "../src/scripts/hull_moments.py"


rule center_rotation:
    input:
        gather.chunk(f"{GATHERED}/moments.{{scatteritem}}.npz"),
    output:
        f"{PREPROCESSED}/center_rotation.npz",
    log:
        "logs/center_rotation/{recording}.{preset}.log",
    benchmark:
        "results/benchmarks/center_rotation/{recording}.{preset}.tsv"
    conda:
        "../envs/cpu.yaml"
    params:
        settings=settings("preset", "smoothing"),
        code=code_of("center_rotation"),
    message:
        "{rule}: Following centre and heading of the animal in {wildcards.recording}"
    script:
        "../src/scripts/center_rotation.py"


rule hull_sum:
    input:
        images=f"{PREPROCESSED}/images.zarr",
        cameras=f"{RECORDING}/cameras.h5",
        vertical_lines=f"{RECORDING}/vertical_lines.npz",
        center_rotation=f"{PREPROCESSED}/center_rotation.npz",
    output:
        temp(f"{PREPROCESSED}/parts/hull_sum.{{scatteritem}}.npz"),
    log:
        "logs/hull_sum/{recording}.{preset}.{scatteritem}.log",
    benchmark:
        "results/benchmarks/hull_sum/{recording}.{preset}.{scatteritem}.tsv"
    conda:
        "../envs/cpu.yaml"
    params:
        settings=settings("preset", "downsample", "grid_size", "ell", "split"),
        recording=settings("recording", "heldout_cameras"),
        code=code_of("hull_sum"),
    message:
        "{rule}: Carving training frames of part {wildcards.scatteritem} of {wildcards.recording}"
    script:
        "../src/scripts/hull_sum.py"


rule crop:
    input:
        gather.chunk(f"{GATHERED}/hull_sum.{{scatteritem}}.npz"),
    output:
        volume_sum=f"{PREPROCESSED}/volume_sum.npy",
        crop=f"{PREPROCESSED}/crop.json",
    log:
        "logs/crop/{recording}.{preset}.log",
    benchmark:
        "results/benchmarks/crop/{recording}.{preset}.tsv"
    conda:
        "../envs/cpu.yaml"
    params:
        settings=settings("preset", "crop_coverage", "fill_color"),
        code=code_of("crop"),
    message:
        "{rule}: Choosing the part of the grid that {wildcards.recording} needs"
    script:
        "../src/scripts/crop.py"

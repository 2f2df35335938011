"""Renders of the test frames, and metrics of them."""


rule render:
    input:
        **recording_files(this_recording),
        checkpoint=f"{EXPERIMENT}/checkpoint.pt",
    output:
        f"{APPLIED}/rendered_images.h5",
    log:
        "logs/render/{experiment}.{recording}.log",
    benchmark:
        "results/benchmarks/render/{experiment}.{recording}.tsv"
    conda:
        "../envs/gpu.yaml"
    threads: 8
    resources:
        gpu=GPUS,
        mem_mb=8000,
        runtime="2h",
    params:
        heldout=heldout_cameras(this_recording),
        split=split_of_preset,
        device=config["device"],
        code=code_of("render"),
    message:
        "{rule}: Rendering the test frames of {wildcards.recording} by {wildcards.experiment}"
    script:
        "../src/scripts/render.py"


rule metrics_test:
    input:
        renders=f"{APPLIED}/rendered_images.h5",
        images=preprocessed("images.zarr", this_recording),
        center_rotation=preprocessed("center_rotation.npz", this_recording),
    output:
        cameras=report(
            f"{APPLIED}/metrics_test.csv",
            category="Evaluation",
            caption="captions/metrics_test.rst",
            labels=labels_of_applied("metrics per camera (download)"),
        ),
        frames=f"{APPLIED}/metrics_test_frames.csv",
    log:
        "logs/metrics_test/{experiment}.{recording}.log",
    benchmark:
        "results/benchmarks/metrics_test/{experiment}.{recording}.tsv"
    conda:
        "../envs/cpu.yaml"
    params:
        heldout=heldout_cameras(this_recording),
        code=code_of("metrics_test"),
    message:
        "{rule}: Evaluating {wildcards.experiment} on {wildcards.recording}"
    script:
        "../src/scripts/metrics_test.py"


rule hull_metrics_test:
    input:
        images=f"{PREPROCESSED}/images.zarr",
        center_rotation=f"{PREPROCESSED}/center_rotation.npz",
        cameras=f"{RECORDING}/cameras.h5",
        vertical_lines=f"{RECORDING}/vertical_lines.npz",
    output:
        f"{PREPROCESSED}/hull_metrics_test.csv",
    log:
        "logs/hull_metrics_test/{recording}.{preset}.log",
    benchmark:
        "results/benchmarks/hull_metrics_test/{recording}.{preset}.tsv"
    conda:
        "../envs/cpu.yaml"
    params:
        settings=settings("preset", "downsample", "split"),
        recording=settings("recording", "heldout_cameras"),
        code=code_of("hull_metrics_test"),
    message:
        "{rule}: Measuring the plain visual hull of {wildcards.recording}, for comparison"
    script:
        "../src/scripts/hull_metrics_test.py"

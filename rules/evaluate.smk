"""Renders of the test frames, and metrics of them."""


rule render_part:
    input:
        **recording_files(this_recording),
        checkpoint=f"{EXPERIMENT}/checkpoint.pt",
    output:
        temp(f"{APPLIED}/parts/renders.{{scatteritem}}.h5"),
    log:
        "logs/render_part/{experiment}.{recording}.{scatteritem}.log",
    benchmark:
        "results/benchmarks/render_part/{experiment}.{recording}.{scatteritem}.tsv"
    conda:
        "../envs/gpu.yaml"
    threads: 8
    resources:
        gpu=GPUS,
        mem_mb=growing(8000),
        runtime=growing(2 * HOURS),
    params:
        heldout=heldout_cameras(this_recording),
        split=split_of_preset,
        device=config["device"],
        code=code_of("render_part"),
    message:
        "{rule}: Rendering part {wildcards.scatteritem} of {wildcards.recording} by {wildcards.experiment}"
    script:
        "../src/scripts/render_part.py"


rule render:
    input:
        gather.chunk(f"{GATHERED_APPLIED}/parts/renders.{{scatteritem}}.h5"),
    output:
        f"{APPLIED}/rendered_images.h5",
    log:
        "logs/render/{experiment}.{recording}.log",
    benchmark:
        "results/benchmarks/render/{experiment}.{recording}.tsv"
    conda:
        "../envs/cpu.yaml"
    params:
        code=code_of("render"),
    message:
        "{rule}: Joining the renders of {wildcards.recording} by {wildcards.experiment}"
    script:
        "../src/scripts/render.py"


# Of all renders, not of a part that is deleted: lost metrics are made again without rendering.
rule metrics_part:
    input:
        renders=f"{APPLIED}/rendered_images.h5",
        images=preprocessed("images.zarr", this_recording),
        center_rotation=preprocessed("center_rotation.npz", this_recording),
    output:
        temp(f"{APPLIED}/parts/metrics.{{scatteritem}}.json"),
    log:
        "logs/metrics_part/{experiment}.{recording}.{scatteritem}.log",
    benchmark:
        "results/benchmarks/metrics_part/{experiment}.{recording}.{scatteritem}.tsv"
    conda:
        "../envs/cpu.yaml"
    params:
        heldout=heldout_cameras(this_recording),
        code=code_of("metrics_part"),
    message:
        "{rule}: Evaluating part {wildcards.scatteritem} of {wildcards.recording} by {wildcards.experiment}"
    script:
        "../src/scripts/metrics_part.py"


rule metrics_test:
    input:
        gather.chunk(f"{GATHERED_APPLIED}/parts/metrics.{{scatteritem}}.json"),
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
        code=code_of("metrics_test"),
    message:
        "{rule}: Summing up the metrics of {wildcards.experiment} on {wildcards.recording}"
    script:
        "../src/scripts/metrics_test.py"


rule hull_metrics_part:
    input:
        images=f"{PREPROCESSED}/images.zarr",
        center_rotation=f"{PREPROCESSED}/center_rotation.npz",
        cameras=f"{RECORDING}/cameras.h5",
        vertical_lines=f"{RECORDING}/vertical_lines.npz",
    output:
        temp(f"{PREPROCESSED}/parts/hull_metrics.{{scatteritem}}.json"),
    log:
        "logs/hull_metrics_part/{recording}.{preset}.{scatteritem}.log",
    benchmark:
        "results/benchmarks/hull_metrics_part/{recording}.{preset}.{scatteritem}.tsv"
    conda:
        "../envs/cpu.yaml"
    params:
        settings=settings("preset", "downsample", "split"),
        recording=settings("recording", "heldout_cameras"),
        code=code_of("hull_metrics_part"),
    message:
        "{rule}: Measuring the plain visual hull in part {wildcards.scatteritem} of {wildcards.recording}"
    script:
        "../src/scripts/hull_metrics_part.py"


rule hull_metrics_test:
    input:
        gather.chunk(f"{GATHERED}/hull_metrics.{{scatteritem}}.json"),
    output:
        f"{PREPROCESSED}/hull_metrics_test.csv",
    log:
        "logs/hull_metrics_test/{recording}.{preset}.log",
    benchmark:
        "results/benchmarks/hull_metrics_test/{recording}.{preset}.tsv"
    conda:
        "../envs/cpu.yaml"
    params:
        code=code_of("hull_metrics_test"),
    message:
        "{rule}: Summing up the plain visual hull of {wildcards.recording}, for comparison"
    script:
        "../src/scripts/hull_metrics_test.py"

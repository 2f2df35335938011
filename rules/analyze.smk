"""What the metrics of an experiment say."""


rule analysis:
    input:
        cameras=f"{APPLIED}/metrics_test.csv",
        frames=f"{APPLIED}/metrics_test_frames.csv",
        renders=f"{APPLIED}/rendered_images.h5",
        images=preprocessed("images.zarr", this_recording),
        baseline=of_baseline("metrics_test.csv"),
    output:
        json=f"{APPLIED}/analysis/summary.json",
        markdown=report(
            f"{APPLIED}/analysis/summary.md",
            category="Evaluation",
            caption="captions/summary.rst",
            labels=labels_of_applied("summary (download)"),
        ),
        by_camera=report(
            f"{APPLIED}/analysis/metrics_by_camera.png",
            category="Evaluation",
            caption="captions/metrics_by_camera.rst",
            labels=labels_of_applied("metrics by camera"),
        ),
        per_frame=report(
            f"{APPLIED}/analysis/metrics_per_frame.png",
            category="Evaluation",
            caption="captions/metrics_per_frame.rst",
            labels=labels_of_applied("metrics per frame"),
        ),
        distribution=report(
            f"{APPLIED}/analysis/distribution.png",
            category="Evaluation",
            caption="captions/distribution.rst",
            labels=labels_of_applied("distribution over frames"),
        ),
        worst=report(
            f"{APPLIED}/analysis/worst_frames.png",
            category="Evaluation",
            caption="captions/extreme_frames.rst",
            labels=labels_of_applied("worst frames"),
        ),
        best=report(
            f"{APPLIED}/analysis/best_frames.png",
            category="Evaluation",
            caption="captions/extreme_frames.rst",
            labels=labels_of_applied("best frames"),
        ),
    log:
        "logs/analysis/{experiment}.{recording}.log",
    benchmark:
        "results/benchmarks/analysis/{experiment}.{recording}.tsv"
    conda:
        "../envs/cpu.yaml"
    params:
        baseline=config["comparison"]["baseline"],
        plots=config["plots"],
        code=code_of("analysis"),
    message:
        "{rule}: Analysing the metrics of {wildcards.experiment} on {wildcards.recording}"
    script:
        "../src/scripts/analysis.py"

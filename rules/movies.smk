"""Videos of results."""


rule camera_videos:
    input:
        renders=f"{APPLIED}/rendered_images.h5",
        images=preprocessed("images.zarr", this_recording),
        videos=upright_cameras("videos.json", this_recording),
    output:
        directory(f"{APPLIED}/visualization/cameras"),
    log:
        "logs/camera_videos/{experiment}.{recording}.log",
    benchmark:
        "results/benchmarks/camera_videos/{experiment}.{recording}.tsv"
    conda:
        "../envs/cpu.yaml"
    params:
        heldout=heldout_cameras(this_recording),
        code=code_of("camera_videos"),
    message:
        "{rule}: Filming the test part of {wildcards.recording} by {wildcards.experiment}"
    script:
        "../src/scripts/camera_videos.py"


rule novel_views:
    input:
        **recording_files(this_recording),
        checkpoint=f"{EXPERIMENT}/checkpoint.pt",
        metrics=f"{APPLIED}/metrics_test_frames.csv",
        baseline=of_baseline("metrics_test_frames.csv"),
        videos=upright_cameras("videos.json", this_recording),
    output:
        turntable=f"{APPLIED}/visualization/turntable.mp4",
        bullet_time=f"{APPLIED}/visualization/bullet_time.mp4",
        page=report(
            f"{APPLIED}/visualization/novel_views.html",
            category="Evaluation",
            caption="captions/novel_views.rst",
            labels=labels_of_applied("novel views (video)"),
        ),
    log:
        "logs/novel_views/{experiment}.{recording}.log",
    benchmark:
        "results/benchmarks/novel_views/{experiment}.{recording}.tsv"
    conda:
        "../envs/gpu.yaml"
    threads: 8
    resources:
        gpu=GPUS,
        mem_mb=growing(8000),
        runtime=growing(HOURS),
    params:
        heldout=heldout_cameras(this_recording),
        split=split_of_preset,
        turntable=config["visualization"]["turntable"],
        flight=config["visualization"]["flight"],
        device=config["device"],
        code=code_of("novel_views"),
    message:
        "{rule}: Filming {wildcards.recording} by {wildcards.experiment} from where no camera stood"
    script:
        "../src/scripts/novel_views.py"

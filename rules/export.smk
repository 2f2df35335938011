"""Frames for other programs, and a web page to look at them."""


rule export_gaussians:
    input:
        **recording_files(this_recording),
        checkpoint=f"{EXPERIMENT}/checkpoint.pt",
        videos=upright_cameras("videos.json", this_recording),
    output:
        directory(f"{APPLIED}/export"),
    log:
        "logs/export_gaussians/{experiment}.{recording}.log",
    benchmark:
        "results/benchmarks/export_gaussians/{experiment}.{recording}.tsv"
    conda:
        "../envs/gpu.yaml"
    threads: 8
    resources:
        gpu=GPUS,
        mem_mb=growing(8000),
        runtime=growing(HOURS),
    params:
        settings=config["export"],
        heldout=heldout_cameras(this_recording),
        split=split_of_preset,
        device=config["device"],
        code=code_of("export_gaussians"),
    message:
        "{rule}: Exporting Gaussians of {wildcards.recording} by {wildcards.experiment}"
    script:
        "../src/scripts/export_gaussians.py"


rule viewer:
    input:
        f"{APPLIED}/export",
    output:
        directory(f"{APPLIED}/viewer"),
    log:
        "logs/viewer/{experiment}.{recording}.log",
    benchmark:
        "results/benchmarks/viewer/{experiment}.{recording}.tsv"
    conda:
        "../envs/cpu.yaml"
    params:
        code=code_of("viewer"),
    message:
        "{rule}: Making a web page of {wildcards.experiment} on {wildcards.recording}"
    script:
        "../src/scripts/viewer.py"

"""From preprocessed recordings to a trained model."""


rule train:
    input:
        **recording_files(training_recordings),
        init_from=starting_point,
    output:
        checkpoint=f"{EXPERIMENT}/checkpoint.pt",
        log=f"{EXPERIMENT}/training_log.csv",
    log:
        "logs/train/{experiment}.log",
    benchmark:
        "results/benchmarks/train/{experiment}.tsv"
    conda:
        "../envs/gpu.yaml"
    threads: 8
    resources:
        gpu=gpus_of_training,
        # Not a parameter: how many processes load frames changes no result.
        workers=workers_of_training,
        mem_mb=growing(16000),
        runtime=growing(12 * HOURS),
    params:
        settings=settings_of_training,
        heldout=heldout_cameras(training_recordings),
        device=config["device"],
        code=code_of("train"),
    message:
        "{rule}: Training {wildcards.experiment}"
    script:
        "../src/scripts/train.py"

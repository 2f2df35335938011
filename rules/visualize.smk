"""Pictures of results."""


rule training_curves:
    input:
        f"{EXPERIMENT}/training_log.csv",
    output:
        report(
            f"{EXPERIMENT}/training_curves.png",
            category="Training",
            caption="captions/training_curves.rst",
            labels={"experiment": "{experiment}", "figure": "training curves"},
        ),
    log:
        "logs/training_curves/{experiment}.log",
    benchmark:
        "results/benchmarks/training_curves/{experiment}.tsv"
    conda:
        "../envs/cpu.yaml"
    params:
        settings=config["plots"],
        code=code_of("training_curves"),
    message:
        "{rule}: Drawing the training curves of {wildcards.experiment}"
    script:
        "../src/scripts/training_curves.py"


rule truth_against_prediction:
    input:
        renders=f"{APPLIED}/rendered_images.h5",
        images=preprocessed("images.zarr", this_recording),
        metrics=f"{APPLIED}/metrics_test_frames.csv",
    output:
        report(
            f"{APPLIED}/visualization/comparison.png",
            category="Evaluation",
            caption="captions/truth_against_prediction.rst",
            labels=labels_of_applied("truth against prediction"),
        ),
    log:
        "logs/truth_against_prediction/{experiment}.{recording}.log",
    benchmark:
        "results/benchmarks/truth_against_prediction/{experiment}.{recording}.tsv"
    conda:
        "../envs/cpu.yaml"
    params:
        settings=config["plots"],
        heldout=heldout_cameras(this_recording),
        code=code_of("truth_against_prediction"),
    message:
        "{rule}: Drawing truth against prediction for {wildcards.experiment} on {wildcards.recording}"
    script:
        "../src/scripts/truth_against_prediction.py"

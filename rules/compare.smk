"""Experiments side by side, and models to give away."""


rule compare_experiments:
    input:
        metrics=outcome_files("{recording}/metrics_test.csv"),
        logs=outcome_files("training_log.csv"),
        checkpoints=outcome_files("checkpoint.pt"),
    output:
        csv=report(
            "results/comparison/comparison.csv",
            category="Comparison",
            caption="captions/comparison_table.rst",
            labels={"figure": "table of all numbers (download)"},
        ),
        markdown="results/comparison/comparison.md",
        figure=report(
            "results/comparison/comparison.png",
            category="Comparison",
            caption="captions/compare_experiments.rst",
            labels={"figure": "experiments side by side"},
        ),
    log:
        "logs/compare_experiments/all.log",
    benchmark:
        "results/benchmarks/compare_experiments/all.tsv"
    conda:
        "../envs/cpu.yaml"
    params:
        outcomes=OUTCOMES,
        settings={name: shaping_settings(name) for name in COMPARED},
        baseline=config["comparison"]["baseline"],
        plots=config["plots"],
        code=code_of("compare_experiments"),
    message:
        "{rule}: Comparing experiments"
    script:
        "../src/scripts/compare_experiments.py"


rule release:
    input:
        checkpoint=f"{EXPERIMENT}/checkpoint.pt",
        metrics=applied_metrics,
    output:
        directory(f"{EXPERIMENT}/release"),
    log:
        "logs/release/{experiment}.log",
    benchmark:
        "results/benchmarks/release/{experiment}.tsv"
    conda:
        "../envs/cpu.yaml"
    params:
        recordings=applied_recordings,
        code=code_of("release"),
    message:
        "{rule}: Packing the model of {wildcards.experiment} to give away"
    script:
        "../src/scripts/release.py"

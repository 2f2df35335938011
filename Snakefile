from snakemake.utils import min_version

min_version("9.3")


configfile: "config/config.yaml"


report: "rules/captions/workflow.rst"


include: "rules/common.smk"


scattergather:
    chunk=config["chunks"],


include: "rules/examples.smk"
include: "rules/masks.smk"
include: "rules/preprocess.smk"
include: "rules/train.smk"
include: "rules/evaluate.smk"
include: "rules/analyze.smk"
include: "rules/visualize.smk"
include: "rules/export.smk"
include: "rules/movies.smk"
include: "rules/embed.smk"
include: "rules/compare.smk"
include: "rules/report.smk"


# A second or two of work each: not worth a place in a cluster's queue.
localrules:
    all,
    center_rotation,
    crop,
    metrics_test,
    hull_metrics_test,
    training_curves,
    truth_against_prediction,
    analysis,
    viewer,
    compare_experiments,
    release,
    embedding_h5,


rule all:
    default_target: True
    input:
        results_of(config["run"]),

from snakemake.utils import min_version

min_version("9.3")


configfile: "config/config.yaml"


include: "rules/common.smk"


scattergather:
    chunk=config["chunks"],


include: "rules/preprocess.smk"
include: "rules/train.smk"
include: "rules/evaluate.smk"
include: "rules/visualize.smk"
include: "rules/embed.smk"
include: "rules/compare.smk"


rule all:
    default_target: True
    input:
        results_of(config["run"]),

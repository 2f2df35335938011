"""Everything that people look at, on one page."""


rule report_html:
    input:
        results_of(config["run"]),
    output:
        "results/report.html",
    log:
        "logs/report_html/all.log",
    benchmark:
        "results/benchmarks/report_html/all.tsv"
    # Snakemake asks itself here: where it runs, and with what it is installed beside.
    localrule: True
    params:
        config=config,
        storage=default_storage(),
        # Labels and captions are of the rules, and of the files beside them.
        rules=text_of("rules"),
        code=code_of("report_html"),
    message:
        "{rule}: Writing the report"
    script:
        "../src/scripts/report_html.py"

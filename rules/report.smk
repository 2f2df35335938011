"""Everything that people look at, on one page."""


rule report_html:
    input:
        results=results_of(config["run"]),
        captions=sorted(Path(workflow.basedir, "rules/captions").glob("*.rst")),
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
        code=code_of("report_html"),
    message:
        "{rule}: Writing the report"
    script:
        "../src/scripts/report_html.py"

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
        baseline=of_baseline("metrics_test_frames.csv"),
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


rule chosen_frames:
    input:
        **recording_files(this_recording),
        checkpoint=f"{EXPERIMENT}/checkpoint.pt",
        metrics=f"{APPLIED}/metrics_test_frames.csv",
    output:
        frames=directory(f"{APPLIED}/visualization/frames"),
        grid=report(
            f"{APPLIED}/visualization/frames.png",
            category="Evaluation",
            caption="captions/chosen_frames.rst",
            labels=labels_of_applied("all chosen frames"),
        ),
    log:
        "logs/chosen_frames/{experiment}.{recording}.log",
    benchmark:
        "results/benchmarks/chosen_frames/{experiment}.{recording}.tsv"
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
        frames=config["visualization"]["frames"],
        plots=config["plots"],
        device=config["device"],
        code=code_of("chosen_frames"),
    message:
        "{rule}: Drawing the chosen frames of {wildcards.recording} by {wildcards.experiment}"
    script:
        "../src/scripts/chosen_frames.py"


rule volumes:
    input:
        **recording_files(this_recording),
        checkpoint=f"{EXPERIMENT}/checkpoint.pt",
        metrics=f"{APPLIED}/metrics_test_frames.csv",
        baseline=of_baseline("metrics_test_frames.csv"),
    output:
        report(
            f"{APPLIED}/visualization/volumes.png",
            category="Evaluation",
            caption="captions/volumes.rst",
            labels=labels_of_applied("volumes"),
        ),
    log:
        "logs/volumes/{experiment}.{recording}.log",
    benchmark:
        "results/benchmarks/volumes/{experiment}.{recording}.tsv"
    conda:
        "../envs/gpu.yaml"
    threads: 8
    resources:
        gpu=GPUS,
        mem_mb=growing(8000),
        runtime=growing(HOURS),
    params:
        heldout=heldout_cameras(this_recording),
        plots=config["plots"],
        device=config["device"],
        code=code_of("volumes"),
    message:
        "{rule}: Drawing volumes and Gaussians of {wildcards.experiment} on {wildcards.recording}"
    script:
        "../src/scripts/volumes.py"


rule contact_sheet:
    input:
        images=f"{PREPROCESSED}/images.zarr",
        center_rotation=f"{PREPROCESSED}/center_rotation.npz",
        crop=f"{PREPROCESSED}/crop.json",
        cameras=f"{RECORDING}/cameras.h5",
        vertical_lines=f"{RECORDING}/vertical_lines.npz",
        description=f"{RECORDING}/videos.json",
        videos=video_files,
    output:
        report(
            f"{PREPROCESSED}/contact_sheet.png",
            category="Recording",
            caption="captions/contact_sheet.rst",
            labels={"recording": "{recording}", "preset": "{preset}"},
        ),
    log:
        "logs/contact_sheet/{recording}.{preset}.log",
    benchmark:
        "results/benchmarks/contact_sheet/{recording}.{preset}.tsv"
    conda:
        "../envs/cpu.yaml"
    params:
        recording=settings("recording", "heldout_cameras"),
        plots=config["plots"],
        code=code_of("contact_sheet"),
    message:
        "{rule}: Drawing what preprocessing made of {wildcards.recording}"
    script:
        "../src/scripts/contact_sheet.py"

"""Pose and appearance of every frame as numbers that ignore heading, and a map of them."""


rule features_part:
    input:
        **recording_files(this_recording),
        checkpoint=f"{EXPERIMENT}/checkpoint.pt",
        weights=encoder_weights,
    output:
        temp(directory(f"{APPLIED}/embedding/parts/features.{{scatteritem}}.zarr")),
    log:
        "logs/features_part/{experiment}.{recording}.{scatteritem}.log",
    benchmark:
        "results/benchmarks/features_part/{experiment}.{recording}.{scatteritem}.tsv"
    conda:
        "../envs/gpu.yaml"
    threads: 8
    resources:
        gpu=GPUS,
        mem_mb=growing(8000),
        runtime=growing(4 * HOURS),
    params:
        settings=embedding_settings("encoder", "view_size", "azimuths"),
        heldout=heldout_cameras(this_recording),
        device=config["device"],
        # With what else a part depends on, this tells whose leftovers it may go on with.
        chunks=config["chunks"],
        code=code_of("features_part"),
    message:
        "{rule}: Looking at part {wildcards.scatteritem} of {wildcards.recording} from all sides"
    script:
        "../src/scripts/features_part.py"


rule features:
    input:
        gather.chunk(f"{GATHERED_APPLIED}/embedding/parts/features.{{scatteritem}}.zarr"),
    output:
        directory(f"{APPLIED}/embedding/features.zarr"),
    log:
        "logs/features/{experiment}.{recording}.log",
    benchmark:
        "results/benchmarks/features/{experiment}.{recording}.tsv"
    conda:
        "../envs/cpu.yaml"
    params:
        code=code_of("features"),
    message:
        "{rule}: Joining the features of {wildcards.recording} by {wildcards.experiment}"
    script:
        "../src/scripts/features.py"


rule transforms:
    input:
        features=embedded("features.zarr", training_recordings),
        center_rotation=preprocessed("center_rotation.npz", training_recordings),
    output:
        f"{EXPERIMENT}/embedding/transforms.npz",
    log:
        "logs/transforms/{experiment}.log",
    benchmark:
        "results/benchmarks/transforms/{experiment}.tsv"
    conda:
        "../envs/cpu.yaml"
    resources:
        mem_mb=growing(8000),
    params:
        settings=embedding_settings("components", "mu", "seed"),
        split=split_of_preset,
        code=code_of("transforms"),
    message:
        "{rule}: Fitting the embedding of {wildcards.experiment}"
    script:
        "../src/scripts/transforms.py"


rule embedding:
    input:
        features=f"{APPLIED}/embedding/features.zarr",
        transforms=f"{EXPERIMENT}/embedding/transforms.npz",
        center_rotation=preprocessed("center_rotation.npz", this_recording),
        videos=upright_cameras("videos.json", this_recording),
    output:
        npy=f"{APPLIED}/embedding/embedding.npy",
        csv=f"{APPLIED}/embedding/embedding.csv",
        heading=f"{APPLIED}/embedding/heading.csv",
    log:
        "logs/embedding/{experiment}.{recording}.log",
    benchmark:
        "results/benchmarks/embedding/{experiment}.{recording}.tsv"
    conda:
        "../envs/cpu.yaml"
    resources:
        mem_mb=growing(4000),
    params:
        trained=is_training_recording,
        split=split_of_preset,
        code=code_of("embedding"),
    message:
        "{rule}: Embedding the frames of {wildcards.recording} by {wildcards.experiment}"
    script:
        "../src/scripts/embedding.py"


rule embedding_map:
    input:
        embeddings=embedded("embedding.npy", applied_recordings),
        center_rotation=preprocessed("center_rotation.npz", applied_recordings),
        videos=upright_cameras("videos.json", applied_recordings),
    output:
        csv=f"{EXPERIMENT}/embedding/map.csv",
        figure=report(
            f"{EXPERIMENT}/embedding/map.png",
            category="Embedding",
            caption="captions/embedding_map.rst",
            labels={"experiment": "{experiment}"},
        ),
    log:
        "logs/embedding_map/{experiment}.log",
    benchmark:
        "results/benchmarks/embedding_map/{experiment}.tsv"
    conda:
        "../envs/cpu.yaml"
    params:
        settings=embedding_settings("seed"),
        recordings=applied_recordings,
        plots=config["plots"],
        code=code_of("embedding_map"),
    message:
        "{rule}: Drawing the map of all frames of {wildcards.experiment}"
    script:
        "../src/scripts/embedding_map.py"


rule embedding_page:
    input:
        table=f"{EXPERIMENT}/embedding/map.csv",
        images=preprocessed("images.zarr", applied_recordings),
    # Not of the report: as a data URI it is too long for browsers.
    output:
        f"{EXPERIMENT}/embedding/map.html",
    log:
        "logs/embedding_page/{experiment}.log",
    benchmark:
        "results/benchmarks/embedding_page/{experiment}.tsv"
    conda:
        "../envs/cpu.yaml"
    params:
        heldout=heldout_cameras(applied_recordings),
        code=code_of("embedding_page"),
    message:
        "{rule}: Writing the map of {wildcards.experiment} as a page with pictures"
    script:
        "../src/scripts/embedding_page.py"


# A rule of its own, since embedding.npy and .csv do not wait for the map of all recordings.
rule embedding_h5:
    input:
        embedding=f"{APPLIED}/embedding/embedding.npy",
        table=f"{EXPERIMENT}/embedding/map.csv",
        videos=upright_cameras("videos.json", this_recording),
    output:
        f"{APPLIED}/embedding/embedding.h5",
    log:
        "logs/embedding_h5/{experiment}.{recording}.log",
    benchmark:
        "results/benchmarks/embedding_h5/{experiment}.{recording}.tsv"
    conda:
        "../envs/cpu.yaml"
    params:
        code=code_of("embedding_h5"),
    message:
        "{rule}: Writing the embedding of {wildcards.recording} by {wildcards.experiment} as HDF5"
    script:
        "../src/scripts/embedding_h5.py"

"""Train an experiment's model."""

from pose_splatter.dataset import Augmentation, load_recording
from pose_splatter.losses import LossWeights
from pose_splatter.model import NetworkConfig
from pose_splatter.progress import job
from pose_splatter.provenance import fingerprint
from pose_splatter.training import TrainingConfig, choose_device, state_path, train

with job(snakemake.log[0]):
    params = snakemake.params
    settings = params.settings
    inputs = zip(
        params.heldout.items(),
        snakemake.input.images,
        snakemake.input.center_rotation,
        snakemake.input.crop,
        snakemake.input.cameras,
        snakemake.input.vertical_lines,
        strict=True,
    )
    train(
        [load_recording(name, heldout, *paths) for (name, heldout), *paths in inputs],
        params.split,
        NetworkConfig.of(settings["network"]),
        TrainingConfig(**settings["training"]),
        LossWeights(**settings["loss"]),
        Augmentation(**settings["augmentation"]),
        checkpoint=snakemake.output.checkpoint,
        log=snakemake.output.log,
        state=state_path(snakemake.output.checkpoint),
        fingerprint=fingerprint(
            {
                "settings": settings | {"training": settings["training"] | {"epochs": None}},
                "heldout": params.heldout,
                "split": params.split,
                "code": params.code,
            },
            snakemake.input,
        ),
        settings=settings,
        device=choose_device(params.device),
        threads=snakemake.threads,
        init_from=snakemake.input.init_from or None,
    )

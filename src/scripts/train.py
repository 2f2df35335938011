"""Train an experiment's model."""

from pose_splatter.checkpoints import starting_point
from pose_splatter.dataset import Augmentation, load_recordings
from pose_splatter.devices import own_gpus
from pose_splatter.distributed import launch
from pose_splatter.losses import LossWeights
from pose_splatter.model import NetworkConfig
from pose_splatter.progress import job
from pose_splatter.provenance import training_fingerprint
from pose_splatter.training import TrainingConfig, choose_device, state_path, train


def arguments():
    """What `train` is called with, from the job's inputs, outputs and settings."""
    params = snakemake.params
    settings = params.settings | {"heldout_cameras": params.heldout, "code": params.code}
    return {
        "recordings": load_recordings(params.heldout, snakemake.input),
        "fractions": settings["preset"]["split"],
        "network": NetworkConfig.of(settings["network"]),
        "config": TrainingConfig(**settings["training"], workers=snakemake.resources.workers),
        "weights": LossWeights(**settings["loss"]),
        "augmentation": Augmentation(**settings["augmentation"]),
        "checkpoint": snakemake.output.checkpoint,
        "log": snakemake.output.log,
        "state": state_path(snakemake.output.checkpoint),
        "fingerprint": training_fingerprint(settings, snakemake.input),
        "settings": settings,
        "device": choose_device(params.device, settings["training"]["processes"]),
        "threads": snakemake.threads,
        "init_from": starting_point(snakemake.input.init_from),
    }


# The processes of a team import this file again; they must not start teams of their own.
if __name__ == "__main__":
    with job(snakemake.log[0]), own_gpus(snakemake.resources.gpu, snakemake.log[0]):
        processes = snakemake.params.settings["training"]["processes"]
        launch(train, processes, snakemake.log[0], arguments())

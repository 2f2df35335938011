#!/bin/sh
# What an image holds, for envs/Dockerfile and envs/pose-splatter.def: Debian 12 and Python are there,
# and what both have copied to /opt/pose-splatter.
set -eu

# NVIDIA's compiler and headers, of the CUDA (13.0) that the locked torch carries: gsplat is
# compiled when it is first imported.
wget --quiet https://developer.download.nvidia.com/compute/cuda/repos/debian12/x86_64/cuda-keyring_1.1-1_all.deb
dpkg --install cuda-keyring_1.1-1_all.deb
rm cuda-keyring_1.1-1_all.deb
apt-get update
apt-get install --yes --no-install-recommends cuda-nvcc-13-0 cuda-libraries-dev-13-0 rsync
rm -rf /var/lib/apt/lists/*

python -m pip install --no-cache-dir --requirement /opt/pose-splatter/requirements.lock
python -m pip install --no-cache-dir --no-deps /opt/pose-splatter

# Here, once, for NVIDIA's cards from 2018 on: users cannot write into the image, and jobs that
# compile at the same time would be in each other's way.
export CUDA_HOME=/usr/local/cuda-13.0
export TORCH_EXTENSIONS_DIR=/opt/pose-splatter/extensions
export TORCH_CUDA_ARCH_LIST="7.5 8.0 8.6 8.9 9.0 10.0 12.0+PTX"
python -c "from gsplat.cuda._backend import _C; assert _C is not None"
chmod -R a+rX /opt/pose-splatter

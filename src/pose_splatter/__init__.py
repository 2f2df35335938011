"""Pose Splatter: 3D Gaussian models of one animal from synchronised multi-camera video."""

__version__ = "0.1.0"

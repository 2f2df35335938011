"""Pose and appearance as numbers that ignore heading (Goffinet et al. 2025, section 3.4).

A frame's Gaussians are seen from a sphere of cameras (`sphere`), every picture goes through an
image encoder (`encoders`), and the magnitudes of the features' spherical harmonics (`features`)
are reduced to a few dimensions without what is left of the heading (`transforms`, `maps`).
"""

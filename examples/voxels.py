"""Solids from a diffusion model of 3-D convolutions: DDPM in 16 x 16 x 16 voxels.

    python examples/voxels.py                            # trains, then writes views of new solids to runs/voxels/samples.png
    python examples/voxels.py --resume --samples 1000    # more of them
    python examples/voxels.py --device cuda              # on a GPU

The algorithm is that of `ddpm.py`; a grid of occupancies is an image with one axis more, so that the U-Net convolves over
three. The real solids are drawn by the computer: balls, boxes, cylinders, tubes, cones, tori, octahedra and crosses, of
any size, place and turn. So three things can be asked of new ones. Does a classifier, which has seen other solids, read
them as one of these kinds, and are all kinds there? And can the nearest neighbour tell them from real ones, by how much of
each voxel is filled? A half of its guesses are right by chance, all of them if the two sets differ.

samples.png shows real and new solids; denoising.png what the network takes a few of them for on the way from noise.
"""

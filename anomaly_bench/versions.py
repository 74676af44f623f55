"""The libraries whose versions a result records; loads none of them."""

LIBRARIES = ("torch", "pytorch-lightning", "monai", "nibabel", "numpy", "scipy", "pillow")  # those that decide numbers
VERSIONED = (*LIBRARIES, "torchmetrics")

"""3-D convolution and pooling as the formula: `kinema.reference.conv3d`."""

from kinema.engine.reference import conv3d, linear, max_pool3d, relu, run, softmax

__all__ = ["conv3d", "linear", "max_pool3d", "relu", "run", "softmax"]

"""resnet-deploy: residual networks from a PyTorch definition to a TensorRT engine that is proven to work."""

__all__ = ["__version__"]

__version__ = "0.1.0"

"""`python -m resnet_deploy`: the command line, in the form that `torchrun -m` takes."""

from __future__ import annotations

__all__ = ["main"]

from resnet_deploy.cli.main import main

if __name__ == "__main__":
    main()

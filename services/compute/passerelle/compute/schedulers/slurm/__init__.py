"""The `slurm` scheduler plugin: Slurm's command line over SSH, version 21.08 or later."""

from passerelle.compute.schedulers.slurm.scheduler import Slurm

__all__ = ["Slurm"]

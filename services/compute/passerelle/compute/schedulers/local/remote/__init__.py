"""What the `local` scheduler runs on the system: Python 3.6 or newer and its standard library, nothing else."""

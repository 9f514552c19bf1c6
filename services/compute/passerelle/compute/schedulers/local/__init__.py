"""The `local` scheduler: batch jobs as detached processes, for a machine that has no batch system."""

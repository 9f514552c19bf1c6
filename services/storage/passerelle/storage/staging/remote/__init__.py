"""What the jobs of all staging methods share; it runs on the systems, Python 3.6 and newer, standard library only."""

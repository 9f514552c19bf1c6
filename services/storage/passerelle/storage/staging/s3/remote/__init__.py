"""The jobs of the staging method `s3`; they run on the systems, Python 3.6 and newer, standard library only."""

"""The job of the staging method `streamer`; it runs on the systems, Python 3.6 and newer, standard library only."""

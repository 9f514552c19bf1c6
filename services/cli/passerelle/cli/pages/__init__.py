"""The pages of `docs/` that are generated: every configuration key, and every scope with the methods that it opens.

May import: the models that read the configuration, and the contracts as the gateway reads them.
"""

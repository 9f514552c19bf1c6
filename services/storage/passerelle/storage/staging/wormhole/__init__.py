"""The staging method `wormhole`: magic-wormhole, end-to-end encrypted, by a code."""

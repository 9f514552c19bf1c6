"""The operations on files by GNU coreutils and findutils, where no helper can run: `PlainCommands` has them all."""

"""The command line: one file a group of commands, and a command is a few lines."""

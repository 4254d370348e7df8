"""The command ``simtiff``: its arguments, its commands, and what it shows on a terminal.

- `process`: `main`: language, signals, errors and exit code of the command's process
- `commands`: what each command does
- `start`: a first movie, and config files to begin with, from `templates/`
- `exchange`, `scoretable`: the truth to other tools' files, and these against it
- `arguments`: the usage, and how arguments are read
- `terminal`: results, how far a single movie is, exit codes
"""

__all__ = ["arguments", "commands", "exchange", "process", "scoretable", "start", "terminal"]

"""The command ``simtiff``: arguments, commands and terminal output.

- `process`: `main`: language, signals, errors and exit code
- `commands`: the implementation of each command
- `start`: `demo` and `init`: a first movie, and config files from `templates/`
- `exchange`, `scoretable`: `export` and `score`: export the truth, score localizations
- `arguments`: the usage text and the parser
- `terminal`: results, progress of a single movie, exit codes
"""

__all__ = ["arguments", "commands", "exchange", "process", "scoretable", "start", "terminal"]

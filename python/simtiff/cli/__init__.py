"""The command ``simtiff``: its arguments, its commands, and what it shows on a terminal.

- `commands`: `main`, and what each command does
- `arguments`: the usage, and how arguments are read
- `terminal`: how far a single movie is
"""

__all__ = ["arguments", "commands", "terminal"]

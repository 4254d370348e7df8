"""Where emitters are, when they shine and how brightly: the truth of a movie.

- `sampling`: emitters that shine once, drawn by a config, in slabs of time
- `tables`: emitters, and the light that they give to frames
"""

__all__ = ["sampling", "tables"]

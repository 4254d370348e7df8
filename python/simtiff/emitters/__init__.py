"""Where emitters are, when they shine and how brightly: the truth of a movie.

- `sources`: all emitters of a movie and their light, piece by piece, whatever kind they are of
- `sampling`: emitters that shine once, drawn by a config, in slabs of time
- `molecules`: molecules and sites that blink, and emitters that are always on
- `chain`: the states of those that blink, and the rates between them
- `density`: how many emitters a config means, and how many give light to a frame
- `given`, `lists`: molecules and records of a file or a table, in place of drawn ones
- `places`: positions and intensities, drawn from derived streams
- `drift`: how the sample moves
- `tables`: emitters, their blinks, and the light that they give to frames
- `tracks`: example tracks of molecules that diffuse
"""

__all__ = [
    "chain",
    "density",
    "drift",
    "given",
    "lists",
    "molecules",
    "places",
    "sampling",
    "sources",
    "tables",
    "tracks",
]

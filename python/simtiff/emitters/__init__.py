"""The truth of a movie: positions of emitters, when they are on, and how many photons they emit.

- `sources`: all emitters of a movie and their records, piece by piece, for every kind of blinking
- `sampling`: emitters that are on once, drawn in time slabs
- `molecules`: molecules and binding sites that blink, and emitters that are always on
- `chain`: the states of blinking molecules and the transition rates between them
- `density`: the number of emitters that a density gives, and how many emit in a frame
- `given`, `lists`: molecules and records from a file or a table, instead of drawn ones
- `places`: positions and intensities, drawn from derived random streams
- `drift`: sample drift
- `tables`: tables of emitters, blinks and records
- `tracks`: example tracks of diffusing molecules
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

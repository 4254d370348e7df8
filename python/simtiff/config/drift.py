"""The block ``drift`` of a config: how the sample moves against the camera."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field

from simtiff.config.names import home_problem
from simtiff.config.section import Section, checked_text
from simtiff.language import Text

_Velocity = Annotated[float, Field(ge=-1e6, le=1e6)]
_Step = Annotated[float, Field(ge=0, le=1e6)]


def _path_text(value: str) -> str:
    return checked_text(Text("is not a path") if not value.strip() or "\0" in value else home_problem(value), value)


class DriftConfig(Section):
    """How the sample moves against the camera, from frame to frame; what is given adds up."""

    velocity_nm: tuple[_Velocity, _Velocity, _Velocity] = Field(
        (0.0, 0.0, 0.0), strict=False, description="Steady drift [x, y, z], in nanometres per frame."
    )
    walk_nm: tuple[_Step, _Step, _Step] = Field(
        (0.0, 0.0, 0.0), strict=False, description="Steps [x, y, z] of a random walk, in nanometres rms per frame."
    )
    path: Annotated[str, AfterValidator(_path_text)] | None = Field(
        None,
        description="CSV file with the columns frame, x_nm, y_nm, z_nm; between the frames it names drift is linear, "
        "and frame 0 counts as its origin.",
    )

"""The config section ``drift``: how the sample moves relative to the camera."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from simtiff.config.inputs import InputPath  # noqa: TC001 - pydantic evaluates it
from simtiff.config.section import Section

_Velocity = Annotated[float, Field(ge=-1e6, le=1e6)]
_Step = Annotated[float, Field(ge=0, le=1e6)]


class DriftConfig(Section):
    """How the sample moves relative to the camera, from frame to frame; all contributions add up."""

    velocity_nm: tuple[_Velocity, _Velocity, _Velocity] = Field(
        (0.0, 0.0, 0.0), strict=False, description="Steady drift [x, y, z], in nanometres per frame."
    )
    walk_nm: tuple[_Step, _Step, _Step] = Field(
        (0.0, 0.0, 0.0), strict=False, description="Steps [x, y, z] of a random walk, in nanometres rms per frame."
    )
    path: InputPath | None = Field(
        None,
        description="CSV file with the columns frame, x_nm, y_nm, z_nm; interpolated linearly between the listed "
        "frames, relative to frame 0.",
    )

"""Settings of blinking, densities, fiducials and drift: rejected values and their messages, sweeps, identity."""

from __future__ import annotations

from typing import Any

import jsonschema
import pytest

from simtiff.config.identity import changed_settings, job_hash
from simtiff.config.loading import json_schema, load_batch_config, load_job_config
from simtiff.config.sweeps import expand_jobs
from simtiff.errors import ConfigError

JOB = {"zmap_path": "builtin:oil"}
STATES = {"on": {"dark": 0.4, "bleached": 0.02}, "dark": {"on": 0.01}}
KINETICS = {"kind": "kinetics", "states": STATES}
PAINT = {"kind": "paint", "on_frames": 4, "off_frames": 400}


def blinking(**values: Any) -> dict[str, Any]:
    return JOB | {"emitters": {"blinking": values}}


B = "emitters.blinking"
BAD: list[tuple[dict[str, Any], str]] = [
    (blinking(kind="switch"), f'{B}.kind: "switch" is not allowed; allowed: one of "once", "kinetics", "paint"'),
    (
        blinking(kind="paint", on_frames=4),
        f'{B}.off_frames: required key is missing: kind "paint" needs on_frames, off_frames',
    ),
    (blinking(kind="kinetics"), f'{B}.states: required key is missing: kind "kinetics" needs states, such as {{"on"'),
    (blinking(**PAINT, on_frame=4), f'{B}.on_frame: unknown key; did you mean "on_frames"?'),
    (blinking(**PAINT | {"off_frames": 0}), f"{B}.off_frames: 0 is too small; allowed: a number from 0.0001 to"),
    (blinking(**KINETICS | {"states": {"on": {"dark": 0}}}), f"{B}.states.on.dark: 0 is too small; allowed: a number"),
    (blinking(**KINETICS | {"states": {"on": {"dark": -2}}}), f"{B}.states.on.dark: -2 is too small; allowed: a num"),
    (blinking(**KINETICS | {"states": {"on": 3}}), f"{B}.states.on: 3 is an integer; allowed: an object"),
    (blinking(**KINETICS | {"states": {"a.b": {"on": 3}}}), f'{B}.states.a.b: "a.b" is not a state name; allowed:'),
    (
        blinking(**KINETICS | {"states": {"on": {"on": 3}}}),
        f'{B}.states: "on" has a rate to itself; allowed: rates to other',
    ),
    (blinking(**KINETICS, start="blue"), f'{B}.start: "blue" is not a state; allowed: on, dark, bleached'),
    (blinking(**KINETICS, brightness={"lit": 1}), f'{B}.brightness: "lit" is not a state; allowed: on, dark, bleached'),
    (
        blinking(**KINETICS, brightness={"on": 0}),
        f"{B}.brightness: is 0 in all states; allowed: above 0 in at least one",
    ),
    (blinking(**KINETICS, brightness={"on": -1}), f"{B}.brightness.on: -1 is too small; allowed: a number from 0"),
    (blinking(**KINETICS, start="bleached"), f"{B}.start: never leads to a bright state, so no emitter"),
    (blinking(**KINETICS, start={"dark": 0.5}), f"{B}.start: probabilities add up to 0.5; allowed: 1"),
    (blinking(**KINETICS, start={"dark": -0.5, "on": 1.5}), f'{B}.start: {{"dark": -0.5, "on": 1.5}} is not allowed'),
    (blinking(**KINETICS, start=3), f"{B}.start: 3 is not allowed; allowed: a state, {{state: probability}}, or null"),
    (
        blinking(
            kind="kinetics",
            states={"on": {"l": 1, "r": 1}, "l": {"a": 1}, "a": {"l": 1}, "r": {"b": 1}, "b": {"r": 1}},
        ),
        f"{B}.start: is null, but the transient states have no unique steady state; allowed: a state or",
    ),
    (blinking(kind="kinetics", states={"on": {}}), f"{B}.start: is null, but the transient states"),
    (
        JOB | {"emitters": {"density_per_um2": 1, "num_emitters": 3}},
        "emitters.density_per_um2: cannot be combined with emitters",
    ),
    (JOB | {"emitters": {"density_per_um2": -1}}, "emitters.density_per_um2: -1 is too small; allowed: a number"),
    (JOB | {"emitters": {"margin_px": -1}}, "emitters.margin_px: -1 is too small; allowed: a number from 0 to 65,536"),
    (JOB | {"emitters": {"photon_distribution": "poisson"}}, 'emitters.photon_distribution: "poisson" is not allowed'),
    (
        JOB | {"emitters": {"intensity_mu": 1e10}},
        "emitters.intensity_mu: 10000000000.0 is too large; allowed: a number",
    ),
    (JOB | {"emitters": {"fiducials": {"count": 3}}}, "emitters.fiducials.photons: required key is missing; allowed:"),
    (JOB | {"emitters": {"fiducials": 3}}, "emitters.fiducials: 3 is an integer; allowed: an object with the keys co"),
    (
        JOB | {"emitters": {"fiducials": {"count": 0, "photons": 5}}},
        "emitters.fiducials.count: 0 is too small; allowed",
    ),
    (JOB | {"drift": {"velocity_nm": [1, 2]}}, "drift.velocity_nm[2]: required value is missing; allowed: a list of 3"),
    (
        JOB | {"drift": {"walk_nm": [1, 2, -3]}},
        "drift.walk_nm[2]: -3 is too small; allowed: a list of 3 numbers from 0",
    ),
    (JOB | {"drift": {"path": " "}}, 'drift.path: " " is not a path'),
    (JOB | {"drift": {"speed": 3}}, "drift.speed: unknown key; valid keys are velocity_nm, walk_nm, path"),
]


@pytest.mark.parametrize(("config", "message"), BAD, ids=lambda value: value[:60] if isinstance(value, str) else "")
def test_bad_values_are_named_with_what_is_allowed(config: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as error:
        load_job_config(config)
    lines = str(error.value).splitlines()
    assert lines[0] == "config: 1 error in the config"
    assert lines[1].startswith(f"  {message}")


def test_keys_of_other_kinds_are_allowed() -> None:
    for kind in ("once", "always", "paint", "kinetics"):
        config = load_job_config(blinking(**PAINT | KINETICS | {"kind": kind}))
        assert config.emitters.blinking.kind == kind
    both = {"kind": "kinetics", "states": {"on": {"bleached": 0.1}}}  # one transient state remains
    assert load_job_config(blinking(**both)).emitters.blinking.absorbing == {"bleached"}


def test_schema_knows_the_blocks() -> None:
    schema = json_schema()
    good = blinking(**KINETICS, start={"on": 1.0}) | {"drift": {"velocity_nm": [1, 2, 3]}}
    jsonschema.validate(good, schema)
    for config, message in BAD:
        if "too small" in message or "unknown key" in message or "not allowed; allowed: one of" in message:
            with pytest.raises(jsonschema.ValidationError):
                jsonschema.validate(config, schema)


def test_sweeps_and_overrides_reach_into_the_blocks() -> None:
    def variables(**settings: Any) -> list[dict[str, Any]]:
        named = {key.replace("__", "."): values for key, values in settings.items()}
        jobs = expand_jobs(load_batch_config({"base_config": blinking(**KINETICS), "variables": named}))
        return [changed_settings(job.config) for job in jobs]

    found = variables(emitters__blinking__states__on__dark=[0.1, 0.2])
    assert [each["emitters.blinking.states"]["on"] for each in found] == [
        {"dark": 0.1, "bleached": 0.02},
        {"dark": 0.2, "bleached": 0.02},
    ]
    found = variables(emitters__blinking=[PAINT, {"kind": "always"}])
    assert [each["emitters.blinking.kind"] for each in found] == ["paint", "always"]
    assert variables(drift__velocity_nm=[[1, 0, 0]])[0]["drift"] is True
    found = variables(emitters__fiducials=[{"count": 3, "photons": 5}])
    assert found[0]["emitters.fiducials.count"] == 3
    for path, problem in [
        ("emitters.blinking.on_frame", 'did you mean "on_frames"?'),
        ("emitters.blinking.states.on.dark.more", "is a number above 0 up to 10,000, not an object with keys"),
    ]:
        with pytest.raises(ConfigError) as error:
            expand_jobs(load_batch_config({"base_config": JOB, "variables": {path: [1]}}))
        assert problem in str(error.value)
    with pytest.raises(ConfigError, match=r"variables.emitters.blinking.states.on.dark\[1\]: 0 is too small"):
        variables(emitters__blinking__states__on__dark=[0.1, 0])
    job = load_job_config(JOB, [f"{B}.kind=paint", f"{B}.on_frames=2", f"{B}.off_frames=50"])
    assert (job.emitters.blinking.on_frames, job.emitters.blinking.off_frames) == (2, 50)
    job = load_job_config(blinking(**KINETICS), ["emitters.blinking.states.dark.on=0.5", "drift.walk_nm=[1,1,0]"])
    assert job.emitters.blinking.states["dark"] == {"on": 0.5}
    assert job.drift is not None
    with pytest.raises(ConfigError, match=r'"variables" sets this key'):
        load_batch_config(
            {"base_config": blinking(**KINETICS), "variables": {"emitters.blinking.states": [STATES]}},
            ["emitters.blinking.states.on.dark=0.5"],
        )


def test_a_new_number_of_emitters_replaces_whatever_said_it() -> None:
    """A config has num_emitters by default, and there is no other way to remove it."""
    numbered = JOB | {"emitters": {"num_emitters": 50}}
    job = load_job_config(numbered, ["emitters.density_per_um2=0.1"]).emitters
    assert (job.density_per_um2, "num_emitters" in job.model_fields_set) == (0.1, False)
    job = load_job_config(JOB | {"emitters": {"density_per_um2": 0.1}}, ["emitters.num_emitters=7"]).emitters
    assert (job.density_per_um2, job.num_emitters) == (None, 7)
    sweep = {"base_config": numbered, "variables": {"emitters.density_per_um2": [None, 0.1]}}
    jobs = [job.config.emitters for job in expand_jobs(load_batch_config(sweep))]
    assert [(job.density_per_um2, "num_emitters" in job.model_fields_set) for job in jobs] == [
        (None, True),
        (0.1, False),
    ]
    both = {"emitters.density_per_um2": [0.1], "emitters.num_emitters": [5]}
    with pytest.raises(ConfigError, match=r"emitters.density_per_um2: cannot be combined with emitters.num_emitters"):
        expand_jobs(load_batch_config({"base_config": JOB, "variables": both}))
    with pytest.raises(ConfigError, match=r'"variables" sets this key for each job; use --set "variables.emitters.den'):
        load_batch_config(sweep, ["emitters.num_emitters=3"])


def test_identity_covers_the_blocks_and_not_their_absence() -> None:
    plain = job_hash(load_job_config(JOB), "map")
    assert changed_settings(load_job_config(JOB)) == {}
    same = JOB | {"drift": None, "emitters": {"fiducials": None, "blinking": {"kind": "once"}, "margin_px": 0}}
    assert job_hash(load_job_config(same), "map") == plain
    others = [
        blinking(**KINETICS),
        blinking(**PAINT),
        blinking(kind="always"),
        JOB | {"drift": {}},
        JOB | {"drift": {"walk_nm": [1, 1, 1]}},
        JOB | {"emitters": {"density_per_um2": 1}},
        JOB | {"emitters": {"margin_px": 1}},
        JOB | {"emitters": {"fiducials": {"count": 1, "photons": 1}}},
        JOB | {"emitters": {"photon_distribution": "gamma"}},
    ]
    hashes = {job_hash(load_job_config(config), "map") for config in others}
    assert len(hashes | {plain}) == len(others) + 1
    for config in others:
        job = load_job_config(config)
        again = load_job_config(job.model_dump(mode="json"))  # as a truth file stores it
        assert job_hash(again, "map") == job_hash(job, "map")

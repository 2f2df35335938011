"""Configuration: defaults filled in, experiments merged over them, everything checked at once."""

import copy
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import jsonschema
import yaml

from pose_splatter.errors import PoseSplatterError

Settings = dict[str, Any]


def resolve(config: Mapping[str, Any], schemas: str | Path) -> Settings:
    """The whole configuration with every default in its place.

    Presets are merged over the preset `default`, experiments over `defaults`; every recording,
    preset and experiment is checked after that, and that what they name exists. Raises
    PoseSplatterError, one sentence with the key.
    """
    resolved = _checked(config, Path(schemas, "config.schema.yaml"), "config")
    recordings, presets = resolved["recordings"], resolved["presets"]
    for name, recording in recordings.items():
        where = f"recordings: {name}"
        recordings[name] = _checked(recording, Path(schemas, "recording.schema.yaml"), where)
        _check_cameras(recordings[name], where)
    for name, overrides in presets.items():
        merged = merge(presets.get("default") or {}, overrides or {})
        presets[name] = _checked(merged, Path(schemas, "preset.schema.yaml"), f"presets: {name}")
        if abs(sum(presets[name]["split"]) - 1) > 1e-3:
            raise PoseSplatterError(
                f"config: presets: {name}: split {presets[name]['split']} does not add up to 1; "
                "give the shares that train, validate and test."
            )
    experiments = resolved["experiments"]
    for name, overrides in experiments.items():
        where = f"experiments: {name}"
        merged = merge(resolved["defaults"], overrides or {})
        experiments[name] = _checked(merged, Path(schemas, "experiment.schema.yaml"), where)
        _require_known(experiments[name]["preset"], presets, f"{where}: preset")
        for key in ("train", "apply"):
            for recording in experiments[name][key]:
                _require_known(recording, recordings, f"{where}: {key}")
    _check_starting_points(experiments)
    resolved["run"] = resolved["run"] or list(experiments)
    comparison = resolved["comparison"]
    comparison["experiments"] = comparison["experiments"] or resolved["run"]
    comparison["baseline"] = comparison["baseline"] or comparison["experiments"][0]
    for where, names in (
        ("run", resolved["run"]),
        ("comparison: experiments", comparison["experiments"]),
        ("comparison: baseline", [comparison["baseline"]]),
    ):
        for name in names:
            _require_known(name, experiments, where)
    return resolved


def _check_cameras(recording: Settings, where: str) -> None:
    """Turn camera names into strings (YAML reads 0 as a number); held-out ones must be known."""
    for key in ("cameras", "heldout_cameras"):
        recording[key] = [str(camera) for camera in recording[key]]
    for camera in recording["heldout_cameras"]:
        _require_known(camera, recording["cameras"], f"{where}: heldout_cameras")
    if len(recording["cameras"]) - len(recording["heldout_cameras"]) < 2:
        raise PoseSplatterError(
            f"config: {where}: heldout_cameras leaves fewer than two cameras to carve with; hold "
            "out fewer."
        )


def _check_starting_points(experiments: Settings) -> None:
    """No experiment may, through init_from, start from itself."""
    for name in experiments:
        seen, current = [name], experiments[name]["init_from"]
        while current in experiments:
            if current in seen:
                raise PoseSplatterError(
                    f"config: experiments: {name}: init_from leads in a circle "
                    f"({' -> '.join([*seen, current])}); start one of them from nothing."
                )
            seen.append(current)
            current = experiments[current]["init_from"]


def merge(base: Mapping[str, Any], overrides: Mapping[str, Any]) -> Settings:
    """`base` with `overrides` laid over it, key by key down to the leaves."""
    merged = copy.deepcopy(dict(base))
    for key, value in overrides.items():
        nested = isinstance(value, Mapping) and isinstance(merged.get(key), Mapping)
        merged[key] = merge(merged[key], value) if nested else copy.deepcopy(value)
    return merged


def _checked(settings: Any, schema_path: Path, where: str) -> Settings:
    """The settings with the schema's defaults; raises at the first value that it does not admit."""
    schema = yaml.safe_load(schema_path.read_text())
    settings = _with_defaults(copy.deepcopy(settings), schema)
    error = jsonschema.exceptions.best_match(
        jsonschema.Draft202012Validator(schema).iter_errors(settings)
    )
    if error is not None:
        raise PoseSplatterError(_sentence(error, where))
    return settings


def _with_defaults(settings: Any, schema: Mapping[str, Any]) -> Any:
    if isinstance(settings, dict):
        for key, subschema in schema.get("properties", {}).items():
            if key not in settings and "default" in subschema:
                settings[key] = copy.deepcopy(subschema["default"])
            if key in settings:
                settings[key] = _with_defaults(settings[key], subschema)
    return settings


def _sentence(error: jsonschema.ValidationError, where: str) -> str:
    place = ": ".join([where, *map(str, error.absolute_path)])
    place = place if place.startswith("config") else f"config: {place}"
    if error.validator == "additionalProperties":
        known = error.schema["properties"]
        unknown = next(key for key in error.instance if key not in known)
        return f"{place} has the unknown key {unknown!r}; {_nearest(unknown, known)}"
    hint = error.schema.get("description") if isinstance(error.schema, Mapping) else None
    return f"{place} is not valid: {f'{error.instance!r}: {hint}' if hint else error.message}."


def _require_known(name: str, known: Iterable[str], where: str) -> None:
    known = list(known)
    if name not in known:
        raise PoseSplatterError(f"config: {where} names {name!r}; {_nearest(name, known)}")


def _nearest(name: str, known: Iterable[str]) -> str:
    """The end of a sentence on a name that is not known."""
    known = list(known)
    close = get_close_matches(str(name), known, n=1)
    return f"did you mean {close[0]!r}?" if close else f"known are {', '.join(known)}."

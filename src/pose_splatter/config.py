"""Configuration: defaults filled in, experiments merged over them, everything checked at once."""

import copy
import math
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import yaml

from pose_splatter.errors import PoseSplatterError

Settings = dict[str, Any]


# The files of a release that a model starts from (checkpoints.write_release).
RELEASE_FILES = ("model.safetensors", "config.json", "SHA256SUMS")
NULLABLE = ("init_from", "rehearse_after", "stop")
RESERVED = ("release",)  # what an experiment's folder holds beside a folder per recording


def resolve(config: Mapping[str, Any], schemas: str | Path) -> Settings:
    """The whole configuration with every default in its place.

    Presets are merged over the preset `default`, experiments over `defaults`; every recording,
    preset and experiment is checked after that, and that what they name exists. Raises
    PoseSplatterError, one sentence with the key.
    """

    def checked(settings: Any, schema: str, where: str, *, whole: bool = True) -> Settings:
        return _checked(settings, Path(schemas, f"{schema}.schema.yaml"), where, whole)

    resolved = checked(config, "config", "config")
    recordings, presets = resolved["recordings"], resolved["presets"]
    for name, recording in recordings.items():
        recordings[name] = checked(recording, "recording", f"recordings: {name}")
        _check_recording(name, recordings[name])
    base = checked(presets.get("default") or {}, "preset", "presets: default", whole=False)
    for name, overrides in presets.items():
        merged = merge(base, overrides or {})
        presets[name] = checked(merged, "preset", f"presets: {name}")
        _check_split(name, presets[name])
    defaults = checked(resolved["defaults"], "experiment", "defaults", whole=False)
    resolved["defaults"] = defaults
    experiments = resolved["experiments"]
    _check_names(defaults, presets, recordings, "defaults")
    for name, overrides in experiments.items():
        where = f"experiments: {name}"
        experiments[name] = checked(merge(defaults, overrides or {}), "experiment", where)
        _check_names(experiments[name], presets, recordings, where)
    _check_starting_points(experiments)
    _check_comparison(resolved)
    return resolved


def _check_recording(name: str, recording: Settings) -> None:
    where = f"recordings: {name}"
    if name in RESERVED:
        raise PoseSplatterError(f"config: {where} has a name that is taken; choose another.")
    cameras, heldout = recording["cameras"], recording["heldout_cameras"]
    for camera in heldout:
        _require_known(camera, cameras, f"{where}: heldout_cameras")
    if len(cameras) - len(heldout) < 2:
        raise PoseSplatterError(
            f"config: {where}: heldout_cameras leaves fewer than two cameras to carve with; hold "
            "out fewer."
        )
    # In the cameras' order, so that the order in which they are given changes nothing.
    recording["heldout_cameras"] = sorted(heldout, key=cameras.index)
    offsets = recording["frame_offsets"]
    for camera in offsets:
        _require_known(camera, cameras, f"{where}: frame_offsets")
    recording["frame_offsets"] = {c: offsets[c] for c in cameras if offsets.get(c)}
    frames = recording["frames"]
    if frames["stop"] is not None and frames["stop"] <= frames["start"]:
        raise PoseSplatterError(
            f"config: {where}: frames: stop is {frames['stop']}, not after start "
            f"{frames['start']}; correct one of them."
        )


def _check_split(name: str, preset: Settings) -> None:
    if abs(sum(preset["split"]) - 1) > 1e-3:
        raise PoseSplatterError(
            f"config: presets: {name}: split {preset['split']} does not add up to 1; "
            "give the shares that train, validate and test."
        )


def _check_names(settings: Settings, presets: Settings, recordings: Settings, where: str) -> None:
    """What an experiment names must be there."""
    if "preset" in settings:
        _require_known(settings["preset"], presets, f"{where}: preset")
    for key in ("train", "apply"):
        for recording in settings.get(key, []):
            _require_known(recording, recordings, f"{where}: {key}")


def _check_starting_points(experiments: Settings) -> None:
    """init_from names an experiment of the same sizes or a release, and never leads in a circle."""
    for name, settings in experiments.items():
        where, start = f"experiments: {name}: init_from", settings["init_from"]
        if start is None:
            continue
        other = source_experiment(start, experiments)
        if other is None:
            if not all(Path(start, file).is_file() for file in RELEASE_FILES):
                raise PoseSplatterError(
                    f"config: {where} is {start!r}, neither an experiment nor a folder with a "
                    f"release ({', '.join(RELEASE_FILES)}); {_nearest(start, experiments)}"
                )
            continue
        if settings["network"] != experiments[other]["network"]:
            raise PoseSplatterError(
                f"config: {where}: {other} has the network {experiments[other]['network']}, but "
                f"{name} has {settings['network']}; give both the same."
            )
        _refuse_circle(name, experiments)


def source_experiment(init_from: str | None, experiments: Settings) -> str | None:
    """The experiment that init_from names, itself or by its release; None where it is neither."""
    parts = Path(init_from or "").parts
    if parts[:2] == ("results", "experiments") and parts[3:] == ("release",):
        init_from = parts[2]
    return init_from if init_from in experiments else None


def _refuse_circle(name: str, experiments: Settings) -> None:
    seen, current = [name], source_experiment(experiments[name]["init_from"], experiments)
    while current is not None:
        if current in seen:
            raise PoseSplatterError(
                f"config: experiments: {name}: init_from leads in a circle "
                f"({' -> '.join([*seen, current])}); start one of them from nothing."
            )
        seen.append(current)
        current = source_experiment(experiments[current]["init_from"], experiments)


def _check_comparison(resolved: Settings) -> None:
    """Fill in what is run and compared: all experiments, those that are run, the first of them."""
    experiments, comparison = resolved["experiments"], resolved["comparison"]
    resolved["run"] = resolved["run"] or list(experiments)
    comparison["experiments"] = comparison["experiments"] or resolved["run"]
    comparison["baseline"] = comparison["baseline"] or comparison["experiments"][0]
    for name in resolved["run"]:
        _require_known(name, experiments, "run")
    for name in comparison["experiments"]:
        _require_known(name, experiments, "comparison: experiments")
    _require_known(comparison["baseline"], experiments, "comparison: baseline")
    if comparison["baseline"] not in comparison["experiments"]:
        comparison["experiments"] = [comparison["baseline"], *comparison["experiments"]]


def merge(base: Mapping[str, Any], overrides: Mapping[str, Any]) -> Settings:
    """`base` with `overrides` laid over it, key by key down to the leaves.

    A key with nothing after it says nothing, but where null is a value (NULLABLE).
    """
    merged = copy.deepcopy(dict(base))
    for key, value in overrides.items():
        if value is None and merged.get(key) is not None and key not in NULLABLE:
            continue
        nested = isinstance(value, Mapping) and isinstance(merged.get(key), Mapping)
        merged[key] = merge(merged[key], value) if nested else copy.deepcopy(value)
    return merged


def _checked(settings: Any, schema_path: Path, where: str, whole: bool) -> Settings:
    """The settings with the schema's defaults; raises at the first value that it does not admit.

    What is not `whole`, such as the defaults of experiments, may lack keys and is not filled in.
    """
    schema = _schema(schema_path)
    if not whole:
        schema = schema | {"required": []}
    settings = _normalised(copy.deepcopy(settings), schema, fill=whole)
    error = jsonschema.exceptions.best_match(
        jsonschema.Draft202012Validator(schema).iter_errors(settings)
    )
    if error is not None:
        raise PoseSplatterError(_sentence(error, where))
    return settings


@cache
def _schema(path: Path) -> Settings:
    return yaml.safe_load(path.read_text())


def _normalised(value: Any, schema: Mapping[str, Any], fill: bool) -> Any:
    """What YAML made of a value as what the schema asks for, with defaults where it says nothing.

    YAML 1.1 reads 1e-4 as text, 0 as a number where a name is meant, and 1 where 1.0 is meant:
    spelling must neither be refused nor rerun anything.
    """
    types = schema.get("type", [])
    types = [types] if isinstance(types, str) else types
    if isinstance(value, Mapping) and "object" in types:
        return _normalised_object(value, schema, fill)
    if isinstance(value, list) and "items" in schema:
        return [_normalised(item, schema["items"], fill) for item in value]
    if isinstance(value, bool):
        return value
    if "integer" in types and isinstance(value, int | float):
        return int(value) if float(value).is_integer() else value
    if "number" in types and isinstance(value, int | float | str):
        try:
            number = float(value)
        except ValueError:
            return value
        return number if math.isfinite(number) else str(value)
    if "string" in types and isinstance(value, int | float):
        return str(value)
    return value


def _normalised_object(value: Mapping[Any, Any], schema: Mapping[str, Any], fill: bool) -> Settings:
    known = schema.get("properties", {})
    others = schema.get("additionalProperties") or {}
    result = {}
    for key, item in value.items():
        subschema = known.get(str(key), others)
        if item is None and "default" in subschema:  # a key with nothing after it
            item = copy.deepcopy(subschema["default"])
        result[str(key)] = _normalised(item, subschema, fill)
    for key, subschema in known.items():
        if fill and key not in result and "default" in subschema:
            result[key] = _normalised(copy.deepcopy(subschema["default"]), subschema, fill)
    return result


def _sentence(error: jsonschema.ValidationError, where: str) -> str:
    place = ": ".join([where, *map(str, error.absolute_path)])
    place = place if place.startswith("config") else f"config: {place}"
    if error.validator == "additionalProperties":
        known = error.schema["properties"]
        unknown = next(key for key in error.instance if key not in known)
        return f"{place} has the unknown key {unknown!r}; {_nearest(unknown, known)}"
    if error.validator == "required":
        missing = next(key for key in error.validator_value if key not in error.instance)
        wanted = error.schema["properties"][missing]["description"]
        return f"{place} lacks {missing!r}; give {wanted}."
    return f"{place} is not valid: {error.instance!r}; give {error.schema['description']}."


def _require_known(name: str, known: Iterable[str], where: str) -> None:
    known = list(known)
    if name not in known:
        raise PoseSplatterError(f"config: {where} names {name!r}; {_nearest(name, known)}")


def _nearest(name: str, known: Iterable[str]) -> str:
    """The end of a sentence on a name that is not known."""
    known = list(known)
    close = get_close_matches(str(name), known, n=1)
    return f"did you mean {close[0]!r}?" if close else f"known are {', '.join(known)}."

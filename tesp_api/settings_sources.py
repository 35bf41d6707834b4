"""Where settings come from: a file, a profile in it, the environment, what a caller puts on top of them."""

import os
import tomllib
from pathlib import Path
from typing import Any

from dynaconf import Dynaconf

from tesp_api.errors import SettingsError

ENV_PREFIX = "TESP_API"
_FILE_VARIABLE = "TESP_API_SETTINGS"
_PROFILE_VARIABLE = "FASTAPI_PROFILE"


def read_sources(overrides: dict[str, Any]) -> tuple[dict[str, Any], Path | None]:
    """All settings as nested dicts with lower-case keys, not yet checked; and the file, if there is one.

    Raises:
        SettingsError: the file or the profile does not exist, or the file cannot be used.
    """
    file = _settings_file()
    profile = os.environ.get(_PROFILE_VARIABLE, "default")
    _check_file(file, profile)
    source = Dynaconf(
        envvar_prefix=ENV_PREFIX,
        settings_files=[str(file)] if file else [],
        environments=True,
        env=profile.lower(),
        merge_enabled=True,
        load_dotenv=False,
    )
    values = _lower_keys(source.as_dict())
    for ours in ("settings", "load_dotenv"):
        values.pop(ours, None)
    return _merged(values, overrides), file


def _settings_file() -> Path | None:
    named = os.environ.get(_FILE_VARIABLE)
    if named:
        file = Path(named)
        if not file.is_file():
            raise SettingsError(f"{_FILE_VARIABLE} names {file}, but there is no such file")
        return file
    here = Path("settings.toml")
    return here.absolute() if here.is_file() else None


def _check_file(file: Path | None, profile: str) -> None:
    try:
        content = tomllib.loads(file.read_text()) if file else {}
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"{file} is not valid TOML: {error}") from None
    except OSError as error:
        raise SettingsError(f"{file} cannot be read: {error.strerror}") from None
    # dynaconf would pass over them in silence
    outside = [key for key, value in content.items() if not isinstance(value, dict)]
    if outside:
        raise SettingsError(f"{file}: {', '.join(outside)}: belongs in a table, such as [default]")
    tables = {name.lower() for name in content}
    if profile.lower() != "default" and profile.lower() not in tables:
        known = ", ".join(sorted(tables | {"default"}))
        raise SettingsError(
            f"{_PROFILE_VARIABLE} is {profile!r}, but {file or 'no settings file'} has no such profile"
            f" (profiles: {known})"
        )


def _lower_keys(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key).lower(): _lower_keys(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_lower_keys(item) for item in value]
    return value


def _merged(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in over.items():
        nested = isinstance(value, dict) and isinstance(merged.get(key), dict)
        merged[key] = _merged(merged[key], value) if nested else value
    return merged

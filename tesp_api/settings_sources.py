"""Where settings come from: a file, a profile in it, the environment, what a caller puts on top of them."""

import contextlib
import os
import tomllib
from pathlib import Path
from typing import Any

from dynaconf import Dynaconf

from tesp_api.errors import SettingsError

ENV_PREFIX = "TESP_API"
_FILE_VARIABLE = "TESP_API_SETTINGS"
_PROFILE_VARIABLE = "FASTAPI_PROFILE"
_FILE_SUFFIX = "_file"
_SECRET_MAX_BYTES = 64 * 1024
_NO_TABLES = frozenset({"headers", "submit_params", "runtime_args"})
"""Their keys are not settings."""


def read_sources(overrides: dict[str, Any]) -> tuple[dict[str, Any], Path | None]:
    """All settings as nested dicts with lower-case keys, not yet checked; and the file, if there is one.

    Where a text is told by KEY_file, in the file or the environment (`TESP_API_SECRET_KEY_FILE`), it is the
    content of the file of that name, without the line break at its end: so secrets of Docker and Kubernetes
    need not be in the environment.

    Raises:
        SettingsError: the file or the profile does not exist, or a file cannot be used.
    """
    file = _settings_file()
    profile = os.environ.get(_PROFILE_VARIABLE, "default")
    _check_file(file, profile)
    values = _read(file, profile)
    return _merged(_with_files(values, []), overrides), file


def secret_files(file: Path | None) -> list[Path]:
    """The files whose content the settings name by KEY_file, whether or not they can be read."""
    named: list[Path] = []
    with contextlib.suppress(SettingsError):
        _with_files(_read(file, os.environ.get(_PROFILE_VARIABLE, "default")), named)
    return named


def _with_files(values: dict[str, Any], named: list[Path]) -> dict[str, Any]:
    """Each KEY_file replaced by KEY with what is in the file; the files' names are added to `named`."""
    found: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, dict) and key not in _NO_TABLES:
            found[key] = _with_files(value, named)
        elif key.endswith(_FILE_SUFFIX) and isinstance(value, str):
            named.append(Path(value).expanduser())
            plain = key.removesuffix(_FILE_SUFFIX)
            if plain in values:
                raise SettingsError(f"{plain} and {key} are both set: which of them is meant?")
            found[plain] = _content(key, named[-1])
        else:
            found[key] = value
    return found


def _content(key: str, file: Path) -> str:
    try:
        with file.open("rb") as opened:
            data = opened.read(_SECRET_MAX_BYTES + 1)
        if len(data) > _SECRET_MAX_BYTES:
            raise SettingsError(f"{key}: {file} has more than {_SECRET_MAX_BYTES} bytes")
        return data.decode().rstrip("\r\n")
    except OSError as error:
        raise SettingsError(f"{key}: {file} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise SettingsError(f"{key}: {file} is not UTF-8") from None


def settings_file() -> Path | None:
    """The file that is read; None if there is none."""
    try:
        return _settings_file()
    except SettingsError:
        return None


def _read(file: Path | None, profile: str) -> dict[str, Any]:
    source = Dynaconf(
        envvar_prefix=ENV_PREFIX,
        settings_files=[str(file)] if file else [],
        environments=True,
        env=profile.lower(),
        merge_enabled=True,
        load_dotenv=False,
    )
    values: dict[str, Any] = _lower_keys(source.as_dict())
    for ours in ("settings", "load_dotenv"):
        values.pop(ours, None)
    return values


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

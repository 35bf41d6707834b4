"""What stops the start, and that its message names the key; that the shipped file can be used."""

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

from tesp_api.errors import SettingsError
from tesp_api.settings import Settings, load_settings

SHIPPED = Path(__file__).resolve().parents[2] / "settings.toml"
PROFILES = sorted(tomllib.loads(SHIPPED.read_text()))


@pytest.fixture(autouse=True)
def _bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """An empty folder and an environment without any of our variables."""
    import os

    for name in list(os.environ):
        if name.startswith(("TESP_API", "FASTAPI_PROFILE")):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


def write(text: str) -> None:
    Path("settings.toml").write_text(text)


def refused(**overrides: Any) -> str:
    with pytest.raises(SettingsError) as caught:
        load_settings(**overrides)
    return str(caught.value)


def test_nothing_at_all_is_enough() -> None:
    settings = load_settings()
    assert settings.server.port == 8080
    assert list(settings.destinations) == ["local"]


def test_file_profile_environment_and_command_line_win_in_this_order(monkeypatch: pytest.MonkeyPatch) -> None:
    write("[default.server]\nport = 1001\nhost = 'h'\n[big.server]\nport = 1002\n")
    assert load_settings().server.port == 1001
    monkeypatch.setenv("FASTAPI_PROFILE", "big")
    assert load_settings().server.port == 1002
    monkeypatch.setenv("TESP_API_SERVER__PORT", "1003")
    assert load_settings().server.port == 1003
    settings = load_settings(server={"port": 1004})
    assert (settings.server.port, settings.server.host) == (1004, "h")


def test_the_environment_reaches_into_destinations(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TESP_API_DESTINATIONS__LOCAL__RUNTIMES", '["podman"]')
    monkeypatch.setenv("TESP_API_DESTINATIONS__LOCAL__MAX_RUNNING", "3")
    local = load_settings().destinations["local"]
    assert (local.runtimes, local.max_running) == (("podman",), 3)


def test_another_file_can_be_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    other = tmp_path / "other.toml"
    other.write_text("[default]\nlog_level = 'debug'\n")
    monkeypatch.setenv("TESP_API_SETTINGS", str(other))
    assert load_settings().log_level == "debug"
    monkeypatch.setenv("TESP_API_SETTINGS", str(tmp_path / "none.toml"))
    assert "none.toml" in refused()


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("[default]\nprot = 1\n", "prot"),
        ("[default.server]\nprot = 1\n", "server.prot"),
        ("[default.server]\nport = 'many'\n", "server.port"),
        ("[default.server]\nport = 65536\n", "server.port"),
        ("[default.logs]\ntail_bytes = 0\n", "logs.tail_bytes"),
        ("[default.scheduler]\nlease_s = -1\n", "scheduler.lease_s"),
        ("[default.destinations.far]\nkind = 'rest'\n", "destinations.far"),
        ("[default.destinations.far]\nkind = 'ftp'\n", "destinations.far.kind"),
        ("[default.destinations.a]\nurl = 'http://x'\n", "destinations.a"),
        ("[default.destinations.a]\nruntimes = ['dokcer']\n", "destinations.a.runtimes.0"),
        ("[default.destinations.a]\nruntimes = []\n", "destinations.a: runtimes"),
        ("[default.destinations.a]\nfile_roots = [{path = 'x'}]\n", "destinations.a.file_roots.0.path"),
        ("[default.destinations.a]\n[default.destinations.b]\n", "settings: destinations"),
        ("[default.channel]\nport = 0\nurl = 'https://t'\n", "channel.port"),
        ("[default.transfers]\ndeny_schemes = ['htpp']\n", "transfers.deny_schemes.0"),
        ("[default.transfers]\nallow_hosts = ['http://a.org']\n", "transfers.allow_hosts.0"),
        ("[default.transfers]\nlocal_networks = ['127.0.0.1/8']\n", "transfers.local_networks.0"),
        ("[default.channel]\nport = 8443\n", "settings: channel.port needs channel.url"),
        ("[default.channel]\nurl = 'https://t'\n", "channel: url needs a port"),
        ("[default.auth]\nmodes = []\n", "auth.modes"),
        ("[default.auth]\nmodes = ['none', 'basic']\n", 'auth.modes: "none" stands alone'),
        ("[default.auth]\nmodes = ['passwort']\n", "auth.modes.0"),
        ("[default.auth]\nhosts = ['http://a.org']\n", "auth.hosts.0"),
        ("[default]\nlog_format = 'xml'\n", "log_format"),
        ("[default.metrics]\ntoken = 'short'\n", "metrics.token: must have 32 characters"),
        (f"[default.metrics]\ntoken = '{'x' * 40} y'\n", "metrics.token: must be visible ASCII"),
        ("[default.tracing]\nurl = 'collector:4318'\n", "tracing.url"),
        ("[default.tracing]\nurl = 'http://me:word@collector/'\n", "tracing.url"),
        ("[default.tracing]\nshare = 2\n", "tracing.share"),
        ("[default.tracing]\nservice_name = ''\n", "tracing.service_name"),
        ("[default.limits.user]\nlive_tasks = 0\n", "limits.user.live_tasks"),
        ("[default.limits.user]\ntasks = 1\n", "limits.user.tasks"),
        ("[default.limits.all]\nrequests_per_s = 0\n", "limits.all.requests_per_s"),
        ("[default.limits.logins]\nwithin_s = 0\n", "limits.logins.within_s"),
        (
            "[default.limits.user]\nlive_tasks = 9\n[default.limits.all]\nlive_tasks = 8\n",
            "limits: user.live_tasks is more than all.live_tasks",
        ),
        ("[default.limits.special.a]\nlive_tasks = 9\n", "limits.special.a.users"),
        (
            "[default.limits.special.a]\nusers = ['x']\n[default.limits.special.b]\nusers = ['x']\n",
            "limits: special: x is in two tables",
        ),
    ],
)
def test_what_is_wrong_is_named(text: str, key: str) -> None:
    write(text)
    assert f"  {key}" in refused()


def test_all_faults_are_told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    write("[default]\nlog_level = 'loud'\n[default.server]\nport = -1\n")
    monkeypatch.setenv("TESP_API_LOGS__TALE_BYTES", "5")
    message = refused()
    assert all(f"  {key}: " in message for key in ("log_level", "server.port", "logs.tale_bytes"))


def test_an_unknown_profile_is_named_with_the_known_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    write("[default]\n[cluster]\n")
    monkeypatch.setenv("FASTAPI_PROFILE", "clutser")
    message = refused()
    assert "'clutser'" in message
    assert "cluster" in message.partition("profiles:")[2]


def test_a_key_outside_of_any_table_is_named() -> None:
    write("data_dir = '/data'\n[default]\n")
    assert "data_dir: belongs in a table, such as [default]" in refused()


def test_broken_toml_names_the_file() -> None:
    write("[default\n")
    assert "settings.toml is not valid TOML" in refused()


@pytest.mark.parametrize(
    "lines",
    [
        "kind = 'amqp'",
        "kind = 'amqp'\nurl = 'http://me:hush-hush@h/'",
        "kind = 'amqp'\nurl = 'amqp://me:hush-hush@h:port/'",
        "kind = 'amqp'\nurl = 'amqp://me:hush@hush@h/'",
        "kind = 'amqp'\nurl = 'amqp://me:hush-hush@h/'\nstaging = 'gateway'",
        "kind = 'amqp'\nurl = 'amqp://me:hush-hush@h/'\nprivate_token = 'x'",
        "kind = 'rest'\nurl = 'http://h/'\nbroker_ca = '/ca.pem'",
        "kind = 'embedded'\nurl = 'amqp://me:hush-hush@h/'",
    ],
)
def test_a_broker_is_refused_without_showing_its_password(lines: str) -> None:
    write(f"[default.destinations.far]\n{lines}\n")
    message = refused()
    assert "destinations.far" in message and "hush" not in message


def test_a_broker_is_shown_without_user_and_password() -> None:
    write("[default.destinations.far]\nkind = 'amqp'\nurl = 'amqps://me:hush@broker.example.org:5671/v'\n")
    settings = load_settings()
    assert settings.destinations["far"].place == "behind the broker at broker.example.org:5671"
    assert "hush" not in repr(settings) + str(settings)


def test_a_secret_is_never_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    write("[default.destinations.far]\nkind = 'rest'\nurl = 'ftp://x'\nprivate_token = 'hush-hush'\n")
    assert "hush-hush" not in refused()
    write("[default.destinations.far]\nkind = 'rest'\nurl = 'http://x'\nprivate_token = 'hush-hush'\n")
    assert "hush-hush" not in repr(load_settings())


@pytest.mark.parametrize(
    ("url", "kind"),
    [
        ("sqlite:", "sqlite"),
        ("mongodb://user:hush-hush@host:27017/?replicaSet=rs0", "mongodb"),
        ("mongodb+srv://user:hush-hush@cluster.example.org/", "mongodb"),
    ],
)
def test_the_stores_url_says_which_store_and_is_never_shown(
    monkeypatch: pytest.MonkeyPatch, url: str, kind: str
) -> None:
    monkeypatch.setenv("TESP_API_STORE__URL", url)
    settings = load_settings()
    assert settings.store.kind == kind
    assert settings.store.url.get_secret_value() == url
    assert "hush" not in f"{settings!r} {settings} {settings.store} {settings.model_dump_json()}"


@pytest.mark.parametrize("url", ["", "sqlite", "sqlite:file", "postgres://user:hush-hush@host", "mongodb:x"])
def test_another_store_is_refused_without_quoting_its_url(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setenv("TESP_API_STORE__URL", url)
    message = refused()
    assert '  store.url: must be "sqlite:"' in message
    assert "hush" not in message


@pytest.mark.parametrize("name", ["", "a b", "a.b", "$a", "a/b", "x" * 64])
def test_a_database_has_a_plain_name(name: str) -> None:
    assert "  store.database" in refused(store={"database": name})


@pytest.mark.parametrize("profile", PROFILES)
def test_each_profile_of_the_shipped_file_loads(profile: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TESP_API_SETTINGS", str(SHIPPED))
    monkeypatch.setenv("FASTAPI_PROFILE", profile)
    assert isinstance(load_settings(), Settings)


def test_the_shipped_default_profile_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = load_settings()
    monkeypatch.setenv("TESP_API_SETTINGS", str(SHIPPED))
    assert load_settings() == plain


@pytest.mark.parametrize("profile", PROFILES)
def test_the_commented_keys_of_the_shipped_file_are_valid_too(
    profile: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever removes a `#` must not be refused: the file is tried with every key uncommented."""
    setting = re.compile(r"^# (?=\[[a-z.]+\]$|[a-z_]+ = |    \{ path|\])", re.MULTILINE)
    write(setting.sub("", SHIPPED.read_text()))
    monkeypatch.setenv("FASTAPI_PROFILE", profile)
    settings = load_settings()
    assert settings.destinations["local"].file_roots[0].path == Path("/data/reads")


def test_the_shipped_file_shows_every_key() -> None:
    text = SHIPPED.read_text()
    shown = set(re.findall(r"^#? ?([a-z_]+) = ", text, re.MULTILINE))
    assert not _keys(Settings.model_json_schema()) - shown - {"path", "mount", "destinations", "special"}
    assert "[default.destinations.local.containers]" in text


def _keys(schema: dict[str, Any]) -> set[str]:
    tables = [schema, *schema["$defs"].values()]
    keys = {key for table in tables for key, one in table.get("properties", {}).items() if "$ref" not in one}
    return keys - {
        name for name, key in schema["properties"].items() if key.keys() & {"$ref", "additionalProperties"}
    }


def test_a_secret_can_be_in_a_file_of_its_own(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    key, url, word = (tmp_path / name for name in ("key", "url", "word"))
    key.write_text("0123456789abcdef" * 2 + "\r\n")
    url.write_text("mongodb://user:hush-hush@host:27017\n")
    word.write_text(" open sesame \n")
    monkeypatch.setenv("TESP_API_SECRET_KEY_FILE", str(key))
    monkeypatch.setenv("TESP_API_STORE__URL_FILE", str(url))
    write(
        "[default.credentials.a]\nurl_prefix = 'https://a/'\nusername = 'u'\n"
        f"password_file = '{word}'\nheaders = {{ X_file = 'kept' }}\n"
    )
    settings = load_settings()
    assert settings.secret_key is not None
    assert settings.secret_key.get_secret_value() == "0123456789abcdef" * 2
    assert settings.store.kind == "mongodb"
    credential = settings.credentials["a"]
    assert credential.password is not None
    assert credential.password.get_secret_value() == " open sesame "
    assert credential.headers["x_file"].get_secret_value() == "kept"
    assert "hush" not in repr(settings)


def test_a_secrets_file_that_cannot_be_used_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = tmp_path / "secret"
    monkeypatch.setenv("TESP_API_SECRET_KEY_FILE", str(file))
    assert "secret_key_file" in refused() and str(file) in refused()
    file.write_bytes(b"\xff" * 40)
    assert "is not UTF-8" in refused()
    file.write_bytes(b"x" * 100_000)
    assert "more than" in refused()
    file.write_text("hush-hush")
    assert "secret_key: must have 32 characters" in refused() and "hush" not in refused()
    monkeypatch.setenv("TESP_API_SECRET_KEY", "0123456789abcdef" * 2)
    assert "are both set" in refused()


def test_a_file_for_what_is_no_setting_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "x").write_text("x")
    monkeypatch.setenv("TESP_API_SEKRET_FILE", str(tmp_path / "x"))
    assert "  sekret: there is no such setting" in refused()

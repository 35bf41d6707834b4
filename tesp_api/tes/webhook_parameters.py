"""The backend parameters by which a task has its states told: `webhook_url`, `_secret` and `_states`.

They are split off before anything is stored or shown: many URLs of webhooks are secrets, and states without a
URL would be refused where a task is sent once more, out of what is shown of it.
Source of the secrets' form: Standard Webhooks 1.0, section "Signature scheme".
"""

import base64
import binascii
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from tesp_api.errors import Fault
from tesp_api.tes.backend_parameters import backend_parameter
from tesp_api.tes.states import TRANSITIONS, State
from tesp_api.tes.urls import scheme_of, url_fault

URL, SECRET, STATES = "webhook_url", "webhook_secret", "webhook_states"
SECRET_PREFIX = "whsec_"  # noqa: S105 - what every secret begins with

TELLABLE = tuple(TRANSITIONS)
"""The states that there are."""

_FIELD = "resources.backend_parameters"
_URL_MAX = 2000
_SECRET_MIN_BYTES, _SECRET_MAX_BYTES = 24, 64


class OwnWebhook(NamedTuple):
    """Where a task has its states told, and with which secret that is signed."""

    url: str
    secret: str
    states: frozenset[State]

    @property
    def place(self) -> str:
        """Where that is, for people: nothing of it is secret."""
        return place_of(self.url)


def place_of(url: str) -> str:
    """The scheme and the host of a valid URL, and the port if it has one."""
    parts = urlsplit(url)
    return f"{parts.scheme.lower()}://{parts.netloc.rpartition('@')[2].lower()}"


def secret_bytes(secret: str) -> bytes:
    """The key that a secret stands for.

    Raises:
        ValueError: it is none; the text says what one is, and nothing of this one.
    """
    try:
        key = base64.b64decode(secret.removeprefix(SECRET_PREFIX), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if not secret.startswith(SECRET_PREFIX) or not _SECRET_MIN_BYTES <= len(key) <= _SECRET_MAX_BYTES:
        raise ValueError(
            f"must be {SECRET_PREFIX} and then {_SECRET_MIN_BYTES} to {_SECRET_MAX_BYTES} random bytes as "
            f'base64: `echo "{SECRET_PREFIX}$(openssl rand -base64 32)"` makes one'
        )
    return key


def webhook_url_fault(url: str) -> str:
    """Why nothing can be told to the URL, without showing it; "" if something can."""
    if scheme_of(url) not in ("http", "https"):
        return "must begin with https:// or http://"
    if len(url) > _URL_MAX:
        return f"has more than {_URL_MAX} characters"
    if url_fault(url):
        return "is none that can be used"
    if "@" in urlsplit(url).netloc:
        return "has a user before the @: give none, since what is told is signed"
    return ""


def split_off_webhook(document: dict[str, Any], faults: list[Fault]) -> OwnWebhook | None:
    """Take the three out of a valid task's document, which is changed; None if it has no webhook.

    What is wrong goes to `faults`.
    """
    url, secret, named = (backend_parameter(document, name) for name in (URL, SECRET, STATES))
    _leave_out(document, (URL, SECRET, STATES))
    if url is None:
        faults += (
            Fault(f"{_FIELD}.{name}", f"needs {URL}, which says where the states are told")
            for name, value in ((SECRET, secret), (STATES, named))
            if value is not None
        )
        return None
    before = len(faults)
    if fault := webhook_url_fault(url):
        faults.append(Fault(f"{_FIELD}.{URL}", fault))
    try:
        secret_bytes(secret or "")
    except ValueError as error:
        faults.append(Fault(f"{_FIELD}.{SECRET}", str(error)))
    states = _states(named, faults)
    return OwnWebhook(url, secret or "", states) if len(faults) == before else None


def _states(named: str | None, faults: list[Fault]) -> frozenset[State]:
    """The states, all if none is named."""
    if named is None:
        return frozenset(TELLABLE)
    names = [name.strip().upper() for name in named.split(",")]
    known = {str(state) for state in TELLABLE}
    faults += (
        Fault(f"{_FIELD}.{STATES}", f"{name[:40]!r} is none of {', '.join(TELLABLE)}; commas separate them")
        for name in dict.fromkeys(names)
        if name not in known
    )
    return frozenset(State(name) for name in names if name in known)


def _leave_out(document: dict[str, Any], names: tuple[str, ...]) -> None:
    resources = document.get("resources") or {}
    kept = {k: v for k, v in resources.get("backend_parameters", {}).items() if k.lower() not in names}
    if kept:
        resources["backend_parameters"] = kept
    elif "backend_parameters" in resources:
        del resources["backend_parameters"]

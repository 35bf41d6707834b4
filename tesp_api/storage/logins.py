"""The logins that go to a worker: of each credential, only what reaches the URLs of its task."""

from typing import TypedDict
from urllib.parse import urlsplit, urlunsplit

from tesp_api.settings import CredentialSettings
from tesp_api.storage.credentials import Credentials
from tesp_api.storage.declared import LOGIN_SCHEMES, Declaring, credentials_named_in, declared_in


class Login(TypedDict):
    """A login as workers get it (`tesp_api.worker` describes it): for all URLs below `url_prefix`."""

    url_prefix: str
    username: str
    password: str
    headers: dict[str, str]


class Logins:
    """Finds the logins of tasks. Immutable."""

    def __init__(self, credentials: Credentials) -> None:
        self._credentials = credentials

    def of(self, task: Declaring) -> list[Login]:
        """One login for each URL of HTTP and FTP that has a credential, and for no other place.

        However much a credential is good for, its login's prefix is the task's URL itself, so that a
        redirect or a listing leads no secret to where the task does not say that it goes.
        """
        named = credentials_named_in(task.request)
        logins: dict[str, Login] = {}
        for declared in declared_in(task.request):
            prefix = bare(declared.url) if declared.scheme in LOGIN_SCHEMES else ""
            if not prefix or prefix in logins:
                continue
            found = self._credentials.find(declared.url, owner=task.owner, named=named)
            if found is not None:
                logins[prefix] = login(prefix, found.rule)
        return list(logins.values())


def login(url_prefix: str, rule: CredentialSettings) -> Login:
    """A credential of HTTP or FTP as a login for what is below `url_prefix`."""
    headers = {name: value.get_secret_value() for name, value in rule.headers.items()}
    if rule.bearer_token is not None:
        headers["Authorization"] = f"Bearer {rule.bearer_token.get_secret_value()}"
    return Login(
        url_prefix=url_prefix,
        username=rule.username or "",
        password=rule.password.get_secret_value() if rule.password else "",
        headers=headers,
    )


def bare(url: str) -> str:
    """The URL without userinfo, query, fragment and the slash at its end."""
    parts = urlsplit(url)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path.rstrip("/"), "", ""))

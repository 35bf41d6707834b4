"""The logins that go to a worker: of each credential, only what reaches the URLs of its task."""

from typing import TypedDict
from urllib.parse import urlsplit, urlunsplit

from tesp_api.storage.credentials import Credential, Credentials
from tesp_api.storage.declared import LOGIN_SCHEMES, Declaring, credentials_named_in, declared_in
from tesp_api.storage.sealing import Sealer
from tesp_api.tes.userinfo import UrlLogin


class Login(TypedDict):
    """A login as workers get it (`tesp_api.worker` describes it): for all URLs below `url_prefix`."""

    name: str
    url_prefix: str
    username: str
    password: str
    headers: dict[str, str]


class Logins:
    """Finds the logins of tasks. Immutable."""

    def __init__(self, credentials: Credentials, sealer: Sealer) -> None:
        self._credentials = credentials
        self._sealer = sealer

    def of(self, task: Declaring) -> list[Login]:
        """One login for each URL of HTTP and FTP that has one, and for no other place.

        What the task brought in its URL wins over the credentials of the settings.

        However much a credential is good for, its login's prefix is the task's URL itself, so that a
        redirect or a listing leads no secret to where the task does not say that it goes.

        Raises:
            SealBroken: what the task brought cannot be read any more.
        """
        named = credentials_named_in(task.request)
        brought = self._sealer.open(task.id, task.sealed)
        logins = {one.url_prefix: _of_url(one) for one in brought}
        for declared in declared_in(task.request):
            prefix = bare(declared.url) if declared.scheme in LOGIN_SCHEMES else ""
            if not prefix or prefix in logins:
                continue
            found = self._credentials.find(declared.url, owner=task.owner, named=named)
            if found is not None:
                logins[prefix] = login(prefix, found)
        return list(logins.values())


def _of_url(brought: UrlLogin) -> Login:
    return Login(
        name="",
        url_prefix=brought.url_prefix,
        username=brought.username,
        password=brought.password,
        headers={},
    )


def login(url_prefix: str, credential: Credential) -> Login:
    """A credential of HTTP or FTP as a login for what is below `url_prefix`."""
    rule = credential.rule
    headers = {name: value.get_secret_value() for name, value in rule.headers.items()}
    if rule.bearer_token is not None:
        headers["Authorization"] = f"Bearer {rule.bearer_token.get_secret_value()}"
    return Login(
        name=credential.name,
        url_prefix=url_prefix,
        username=rule.username or "",
        password=rule.password.get_secret_value() if rule.password else "",
        headers=headers,
    )


def bare(url: str) -> str:
    """The URL without userinfo, query, fragment and the slash at its end."""
    parts = urlsplit(url)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path.rstrip("/"), "", ""))

"""What is wrong with the secrets that a task needs: nobody has them, or they cannot get to where it runs."""

from collections.abc import Iterator
from typing import Any

from tesp_api.errors import Fault
from tesp_api.settings import Settings
from tesp_api.storage.credentials import Credentials
from tesp_api.storage.declared import S3_SCHEME, credentials_named_in
from tesp_api.storage.delivery import Delivery
from tesp_api.tes.urls import scheme_of
from tesp_api.tes.userinfo import login_prefixes
from tesp_api.tes.validation import NewTask

_NAMES = "resources.backend_parameters.credentials"
_NOT_COVERED = (
    f"is covered by no credential that you may use: name one in {_NAMES}, or ask who runs this server "
    "to add a table [credentials.NAME] to its settings, with a url_prefix that the URL begins with"
)
_NOT_DELIVERED = (
    "needs a login, and no destination of this server can be given one: none of them can reach it (for that, "
    "channel.port and channel.url must be set, or channel_url of a destination)"
)


class CredentialRules:
    """Checks valid tasks against the credentials and destinations of the settings. Immutable."""

    def __init__(self, settings: Settings) -> None:
        self._credentials = Credentials(settings.credentials)
        self._delivery = Delivery(settings)

    def faults(self, new: NewTask, owner: str) -> Iterator[Fault]:
        """Every fault, by its field. Others' credentials are spoken of like those that do not exist."""
        named = credentials_named_in(new.document)
        for name in sorted(named):
            if self._credentials.get(name, owner=owner) is None:
                yield Fault(_NAMES, f"there is no credential {name[:64]!r} that you may use")
        with_login = {login.url_prefix for login in new.logins}
        for field, url in _fetched_or_sent(new.document):
            found = self._credentials.find(url, owner=owner, named=named)
            if scheme_of(url) == S3_SCHEME:
                if found is None:
                    yield Fault(field, _NOT_COVERED)
            elif not self._delivery.with_channel and (found or with_login.intersection(login_prefixes(url))):
                yield Fault(field, _NOT_DELIVERED)

    def warnings(self, new: NewTask, owner: str) -> Iterator[str]:
        """How large outputs to S3 may be where they are sent by requests that were signed beforehand."""
        if not self._delivery.without_channel:
            return
        sites = ", ".join(self._delivery.without_channel)
        named = credentials_named_in(new.document)
        for field, url in _fetched_or_sent(new.document):
            found = self._credentials.find(url, owner=owner, named=named)
            if found is not None and found.rule.kind == "s3" and field.startswith("outputs"):
                yield f"{field}: from {sites} each file can have at most {found.rule.max_upload_bytes} bytes"


def _fetched_or_sent(document: dict[str, Any]) -> Iterator[tuple[str, str]]:
    for kind in ("inputs", "outputs"):
        for at, item in enumerate(document.get(kind, ())):
            if item.get("url") and not item.get("content"):
                yield f"{kind}[{at}].url", item["url"]

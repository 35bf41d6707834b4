"""What the gateway's own transfers borrow: as a worker over the channel, answered in this process."""

from collections.abc import Sequence
from typing import Protocol

from tesp_api.errors import TespError
from tesp_api.settings import CredentialSettings
from tesp_api.storage.credentials import Credentials
from tesp_api.storage.logins import Logins
from tesp_api.storage.s3_grants import Ask as Wanted
from tesp_api.storage.s3_grants import S3Grants
from tesp_api.store.base import Task
from tesp_api.worker.channel import login_of
from tesp_api.worker.errors import StagingError
from tesp_api.worker.transfer.lending import Ask, Form, Listed, Login, Signed


class SignedRequest(Protocol):
    """A request to make as it is."""

    @property
    def method(self) -> str: ...

    @property
    def url(self) -> str: ...

    @property
    def headers(self) -> dict[str, str]: ...


class Signer(Protocol):
    """Signs requests of S3 with the keys of a credential."""

    def sign(
        self, operation: str, url: str, parameters: dict[str, str], rule: CredentialSettings
    ) -> SignedRequest: ...


class GatewayLender:
    """A worker's `Lender` for one task. Safe to use from several threads."""

    def __init__(self, task: Task, logins: Logins, credentials: Credentials, signer: Signer) -> None:
        self._task = task
        self._grants = S3Grants(task, credentials)
        self._signer = signer
        self._source = logins
        self._logins: list[Login] | None = None

    def login_for(self, url: str) -> Login | None:
        """All logins of the task are found when the first URL comes up."""
        if self._logins is None:
            try:
                self._logins = [Login(**login) for login in self._source.of(self._task)]
            except TespError as error:
                raise StagingError(str(error)) from error
        return login_of(url, self._logins)

    def sign(self, asks: Sequence[Ask]) -> list[Signed]:
        return [self._signed(ask) for ask in asks]

    def listing_of(self, url: str) -> list[Listed] | None:
        return None

    def form_for(self, url: str) -> Form | None:
        return None

    def _signed(self, ask: Ask) -> Signed:
        try:
            rule = self._grants.credential_for(Wanted(ask.operation, ask.url, ask.parameters)).rule
            signed = self._signer.sign(ask.operation, ask.url, dict(ask.parameters), rule)
        except TespError as error:
            raise StagingError(f"The gateway may not do this: {error}") from error
        return Signed(signed.method, signed.url, dict(signed.headers))

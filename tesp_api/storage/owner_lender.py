"""What this server borrows to read a user's files: that user's credentials, for one URL at a time."""

from collections.abc import Sequence

from tesp_api.errors import InvalidRequest
from tesp_api.storage.credentials import Credentials, begins_with
from tesp_api.storage.declared import LOGIN_SCHEMES
from tesp_api.storage.logins import bare, login
from tesp_api.storage.s3_grants import place_of
from tesp_api.storage.s3_signing import S3Signer
from tesp_api.tes.urls import scheme_of
from tesp_api.worker.errors import StagingError
from tesp_api.worker.transfer.lending import Ask, Form, Listed, Login, Signed


class OwnerLender:
    """A `Lender` for what `url` names and what is below it; whither a redirect leads, no secret goes.

    Credentials that are for use by name only are never found. Safe to use from several threads.
    """

    def __init__(self, url: str, owner: str, credentials: Credentials, signer: S3Signer) -> None:
        self._url = url
        self._owner = owner
        self._credentials = credentials
        self._signer = signer

    def login_for(self, url: str) -> Login | None:
        if scheme_of(url) not in LOGIN_SCHEMES or not begins_with(bare(url), bare(self._url)):
            return None
        found = self._credentials.find(url, owner=self._owner)
        return None if found is None else Login(**login(bare(url), found))

    def sign(self, asks: Sequence[Ask]) -> list[Signed]:
        return [self._signed(ask) for ask in asks]

    def listing_of(self, url: str) -> list[Listed] | None:
        return None

    def form_for(self, url: str) -> Form | None:
        return None

    def _signed(self, ask: Ask) -> Signed:
        if place_of(ask.url) is None or not begins_with(ask.url, self._url):
            raise StagingError(f"{ask.url[:500]!r}: not what was asked for")
        found = self._credentials.find(ask.url, owner=self._owner)
        if found is None:
            raise StagingError(
                f"{ask.url[:500]}: the server has no credential for it that this user may use: its settings "
                "need a table [credentials.NAME] with a url_prefix of this URL"
            )
        try:
            signed = self._signer.sign(ask.operation, ask.url, dict(ask.parameters), found.rule)
        except InvalidRequest as error:
            raise StagingError(f"{ask.url[:500]}: {error}") from error
        return Signed(signed.method, signed.url, dict(signed.headers))

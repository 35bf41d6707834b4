"""What the service says about itself.

Source: GA4GH service-info 1.0.0 and TES 1.1, tesServiceInfo. Clients built on py-tes stumble over fields
that these do not name, so the extensions are advertised in the description.
"""

from importlib.metadata import version
from typing import Any

from tesp_api.settings import Settings
from tesp_api.tes import backend_parameters

TES_VERSION = "1.1.0"
EXTENSIONS = (
    "GET /tesp/v1/tasks",
    "GET /tesp/v1/tasks/{id}",
    "POST /tesp/v1/tasks:bulk",
    "POST /tesp/v1/tasks:validate",
    "DELETE /tesp/v1/tasks/{id}",
    "GET /tesp/v1/tasks/{id}/logs/{executor}/{stream}",
    "GET /tesp/v1/tasks/{id}/events",
    "GET /tesp/v1/tasks/{id}/files",
    "GET /tesp/v1/tasks/{id}/history",
    "GET /tesp/v1/tasks/{id}/webhooks",
    "GET /tesp/v1/webhooks",
    "POST /tesp/v1/webhooks/{name}/test",
    "GET /tesp/v1/limits",
    "GET /tesp/v1/counts",
    "GET /tesp/v1/destinations",
    "GET /tesp/v1/events",
    "GET /tesp/v1/me",
)


def service_info(settings: Settings) -> dict[str, Any]:
    """The answer to `GET /service-info`."""
    service = settings.service
    extensions = (one.replace(" /", f" {settings.server.root_path}/") for one in EXTENSIONS)
    return {
        "id": service.id,
        "name": service.name,
        "type": {"group": "org.ga4gh", "artifact": "tes", "version": TES_VERSION},
        "description": f"{service.description}. Beyond the standard: {', '.join(extensions)}; "
        "the header Idempotency-Key when creating tasks",
        "organization": {"name": service.organization_name, "url": service.organization_url},
        "environment": service.environment,
        "version": version("tesp-api"),
        "storage": _storage(settings),
        "tesResources_backend_parameters": list(backend_parameters.SUPPORTED),
    }


def service_info_1_0(settings: Settings) -> dict[str, Any]:
    """The answer to `GET /v1/tasks/service-info`, where TES 1.0 clients such as Toil look."""
    service = settings.service
    return {"name": service.name, "doc": service.description, "storage": _storage(settings)}


def _storage(settings: Settings) -> list[str]:
    """The folders that tasks may name, and the places in S3 that everybody may, each once."""
    roots = [root.path.as_uri() for site in settings.destinations.values() for root in site.file_roots]
    open_to_all = [one for one in settings.credentials.values() if one.users is None and not one.by_name_only]
    places = [one.url_prefix for one in open_to_all if one.kind == "s3"]
    return list(dict.fromkeys((*roots, *places)))

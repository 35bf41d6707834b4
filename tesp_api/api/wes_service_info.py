"""What the service says about itself as a WES.

Source: GA4GH service-info 1.0.0 and WES 1.1, ServiceInfo.
"""

from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

from tesp_api.settings import Settings
from tesp_api.store.run_states import RUN_TRANSITIONS
from tesp_api.tes.states import State
from tesp_api.tes.urls import SUPPORTED_SCHEMES
from tesp_api.wes.engines.base import WorkflowEngine
from tesp_api.wes.requests import RESUME

WES_VERSION = "1.1.0"
EXTENSIONS = (
    "DELETE /tesp/v1/runs/{id}",
    "GET /tesp/v1/runs/{id}/steps",
    "GET /tesp/v1/runs/{id}/events",
    "GET /tesp/v1/runs/{id}/logs/{stream}",
    "GET /tesp/v1/runs/{id}/files/{path}",
    "GET /tesp/v1/runs/{id}/inputs.zip",
    "GET /tesp/v1/runs/{id}/outputs.zip",
)


def wes_service_info(
    settings: Settings,
    engines: Mapping[str, tuple[WorkflowEngine, str]],
    counts: Mapping[State, int],
    base: str,
) -> dict[str, Any]:
    """The answer to `GET /service-info`; `engines` are those that are installed, with their versions."""
    service = settings.service
    types: dict[str, dict[str, list[str]]] = {}
    for engine, _ in engines.values():
        for kind, versions in engine.workflow_types.items():
            known = types.setdefault(kind, {"workflow_type_version": []})["workflow_type_version"]
            known += [one for one in versions if one not in known]
    return {
        "id": f"{service.id.removesuffix('.tes')}.wes",
        "name": service.name,
        "type": {"group": "org.ga4gh", "artifact": "wes", "version": WES_VERSION},
        "description": f"Workflow runs as tasks of {service.description}. Beyond the standard: "
        + ", ".join(one.replace(" /", f" {settings.server.root_path}/") for one in EXTENSIONS)
        + "; the header Idempotency-Key when creating runs",
        "organization": {"name": service.organization_name, "url": service.organization_url},
        "environment": service.environment,
        "version": version("tesp-api"),
        "documentationUrl": f"{base}/docs",
        "auth_instructions_url": f"{base}/docs",
        "supported_wes_versions": [WES_VERSION, "1.0.0"],
        "supported_filesystem_protocols": [*SUPPORTED_SCHEMES, "run"],
        "workflow_type_versions": types,
        "workflow_engine_versions": {
            name: {"workflow_engine_version": [installed]} for name, (_, installed) in engines.items()
        },
        "default_workflow_engine_parameters": [
            {"name": RESUME, "type": "string", "default_value": ""},
            *_parameters(engines),
        ],
        "system_state_counts": {str(state): counts.get(state, 0) for state in RUN_TRANSITIONS},
        "tags": {},
    }


def _parameters(engines: Mapping[str, tuple[WorkflowEngine, str]]) -> list[dict[str, str]]:
    found: dict[str, dict[str, str]] = {}
    for engine, _ in engines.values():
        for name, default in engine.parameters.items():
            found.setdefault(name, {"name": name, "type": "string", "default_value": default})
    return list(found.values())

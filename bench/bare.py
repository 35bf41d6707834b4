"""What FastAPI alone does: the same body parsed, the same bytes answered, nothing stored."""

from fastapi import FastAPI, Response

from tesp_api.tes.ids import new_task_id
from tesp_api.tes.tasks import TaskDocument

MINIMAL = b'{"id":"019421de-1400-7000-8000-000000000000","state":"COMPLETE"}'

app = FastAPI()


@app.post("/ga4gh/tes/v1/tasks")
async def create_task(task: TaskDocument) -> dict[str, str]:
    return {"id": new_task_id()}


@app.get("/ga4gh/tes/v1/tasks/{id}")
async def get_task(id: str) -> Response:
    return Response(MINIMAL, media_type="application/json")


@app.get("/readyz")
async def ready() -> dict[str, str]:
    return {"status": "ready"}

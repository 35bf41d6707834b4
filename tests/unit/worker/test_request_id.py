"""The name of the request that created a task goes with it: into the order, and to the channel."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from tesp_api.runner.job_plan import plan_job
from tesp_api.runner.lending import Lent
from tesp_api.runner.routing import Routing
from tesp_api.settings import Settings
from tesp_api.store.base import CREATED_BY
from tesp_api.worker.cancellation import Cancellation
from tesp_api.worker.channel import Channel
from tesp_api.worker.order import parse_order
from tests.factories import make_task


def test_it_goes_with_the_order_to_the_channel(tmp_path: Path) -> None:
    names: list[str | None] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            names.append(self.headers["X-Request-ID"])
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(200)
            self.send_header("Content-Length", "17")
            self.end_headers()
            self.wfile.write(b'{"cancel": false}')

        def log_message(self, *_: Any) -> None:
            """Nobody reads it."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    reach = {"url": f"http://127.0.0.1:{server.server_port}", "ca_pem": None, "token": "t"}
    settings = Settings.model_validate({"data_dir": str(tmp_path)})
    for warnings, name in (((f"{CREATED_BY}r-7", "more"), "r-7"), ((), None)):
        task = make_task(warnings=warnings)
        needs = Routing(settings).needs(task.request, task.owner, False)
        planned = plan_job(task, "local", settings, None, Lent(permits=reach), needs)
        order = parse_order(json.loads(planned.task_json))
        assert order.request_id == (name or "")
        assert order.permits is not None
        Channel(order.permits, Cancellation(str(tmp_path / "cancel")), print).permit("0abc", "start")
        assert names.pop() == name
    server.shutdown()
    server.server_close()

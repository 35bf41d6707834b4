"""A worker small enough to read at a glance; it keeps the file contract of `tesp_api.worker`.

`task_json` tells it what to do: {"files": {name: text}, "sleep_s": 0, "until": a file to wait for,
"bell": a name to ring when there is a file `ring`, "child": true to have a child process}.
"""

import io
import json
import zipfile

from tesp_api.pulsar.base import JobOrder

SOURCE = r"""
import json, os, socket, subprocess, sys, time
job = os.path.abspath(sys.argv[1])
tesp = os.path.join(job, "metadata", "tesp")
os.makedirs(tesp, exist_ok=True)
with open(os.path.join(tesp, "starts"), "a") as starts:
    starts.write("start\n")
try:
    claim = os.open(os.path.join(tesp, "started"), os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644)
except FileExistsError:
    sys.exit(0)
with open("/proc/self/stat") as stat:
    pid_started = int(stat.read().rpartition(")")[2].split()[19])
os.write(claim, json.dumps({"pid": os.getpid(), "pid_started": pid_started, "at": time.time()}).encode())
os.close(claim)
def put(name, text):
    with open(os.path.join(tesp, name + ".draft"), "w") as draft:
        draft.write(text)
    os.replace(draft.name, os.path.join(tesp, name))
with open(os.path.join(tesp, "runs"), "a") as runs:
    runs.write("run\n")
with open(os.path.join(job, "tool_files", "task.json")) as order:
    order = json.load(order)
if order.get("child"):
    child = subprocess.Popen(["sleep", "300"])
    put("child", str(child.pid))
for name, text in order.get("files", {}).items():
    put(name, text)
def wait_for(name):
    while not os.path.exists(os.path.join(tesp, name)):
        time.sleep(0.01)
if order.get("bell"):
    wait_for("ring")
    put("rang", str(time.time()))
    bell = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    bell.sendto(os.path.basename(job).encode(), "\0" + order["bell"])
if order.get("until"):
    wait_for(order["until"])
put("result.json", json.dumps({"version": 1, "state": "COMPLETE", "ended_at": time.time()}))
"""


def tiny_worker() -> bytes:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as worker:
        worker.writestr("__main__.py", SOURCE)
    return archive.getvalue()


def tiny_order(job_id: str, **what: object) -> JobOrder:
    """An order for the tiny worker."""
    return JobOrder(job_id=job_id, worker=tiny_worker(), task_json=json.dumps(what).encode())

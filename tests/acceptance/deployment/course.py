"""What is done with each profile: tasks, while every container in turn is restarted, and one is killed."""

import json
import re
from typing import Any

import httpx

from tests.acceptance.deployment.images import ROOT, Failed, docker
from tests.acceptance.deployment.stack import Stack
from tests.services.tesp import poll

SECONDS = 10
LINES = "".join(f"line {number}\n" for number in range(1, SECONDS + 1))
WORKERS_IN = {"embedded": "api", "pulsar": "pulsar", "amqp": "pulsar-amqp", "slurm": "slurm"}
"""The container that runs the workers of tasks, by the site: what ends with it is run again."""


def run_course(stack: Stack) -> None:
    """Raises: Failed."""
    check_privileges(stack)
    check_addresses(stack)
    quick, failing = stack.create(task("quick", 0)), stack.create(failing_task())
    expect(stack, quick, "quick", "")
    told = 1
    stack.change_settings('[default.service]\nname = "changed"\n')
    for service in stack.running():
        print(f"  restarting {service}", flush=True)
        name = f"restart-{service}"
        task_id = stack.create(task(name, SECONDS))
        wait_until_it_prints(stack, task_id)
        stack.restart(service)
        stack.wait_until_ready()
        attempts = expect(stack, task_id, name, LINES)
        is_told_to_end = service == WORKERS_IN[stack.site]
        told = 2 if is_told_to_end else 1
        if attempts != told:
            raise Failed(f"after a restart of {service} a task had {attempts} attempts, not {told}")
    name = stack.client.get("/ga4gh/tes/v1/service-info").json()["name"]
    if name != "changed":
        raise Failed(f"a restart does not take changed settings up: the service is still called {name}")
    service = WORKERS_IN[stack.site]
    print(f"  killing {service}", flush=True)
    task_id = stack.create(task("kill", SECONDS))
    wait_until_it_prints(stack, task_id)
    stack.kill(service)
    stack.wait_until_ready()
    expect(stack, task_id, "kill", LINES)
    ended = stack.wait(failing)
    if ended["state"] != "EXECUTOR_ERROR" or ended["logs"][-1]["logs"][0]["exit_code"] != 3:
        raise Failed(f"a task that fails: {json.dumps(ended)[:1000]}")
    poll(lambda: not stack.left_of_tasks(), timeout_s=60, every_s=0.5, why=f"left: {stack.left_of_tasks()}")
    if "prometheus" in stack.running():
        check_prometheus(stack)
    if stack.site == "embedded":
        check_restore(stack)


def task(name: str, seconds: int) -> dict[str, Any]:
    """It prints a line each second, and sends a file."""
    lines = f"for n in $(seq 1 {seconds}); do echo line $n; sleep 1; done; "
    script = lines + "read word </in/word; echo $word and $(hostname) >/out/result"
    return {
        "name": name,
        "inputs": [{"path": "/in/word", "content": f"{name}\n"}],
        "outputs": [{"path": "/out/result", "url": f"http://files:8000/{name}"}],
        "executors": [{"image": "busybox:latest", "command": ["sh", "-c", script]}],
    }


def failing_task() -> dict[str, Any]:
    return {"name": "fails", "executors": [{"image": "busybox:latest", "command": ["sh", "-c", "exit 3"]}]}


def wait_until_it_prints(stack: Stack, task_id: str) -> None:
    """Until an executor runs, as its first line shows."""

    def has_printed() -> bool:
        answer = stack.client.get(f"/tesp/v1/tasks/{task_id}/logs/0/stdout")
        return answer.status_code == 200 and answer.text.startswith("line 1")

    try:
        poll(has_printed, timeout_s=90, every_s=0.2, why=f"{task_id} prints nothing")
    except AssertionError as error:
        raise Failed(f"{error}: {json.dumps(stack.get(task_id))[:3000]}\n{stack.logs()}") from None


def expect(stack: Stack, task_id: str, name: str, stdout: str) -> int:
    """See that it is COMPLETE, with all that it printed and sent; how many attempts it took."""
    ended = stack.wait(task_id)
    log = ended["logs"][-1]
    is_right = ended["state"] == "COMPLETE" and log["logs"][0].get("stdout", "") == stdout
    if not is_right:
        raise Failed(f"{name}: {json.dumps(ended)[:4000]}\n{stack.logs()}")
    sent = stack.file(f"/{name}")
    if not sent.startswith(f"{name} and "):
        raise Failed(f"{name} has sent {sent!r}")
    return len(ended["logs"])


def check_privileges(stack: Stack) -> None:
    """No container has more than docker-compose.yaml says. Raises: Failed."""
    for service in stack.running():
        [inspected] = json.loads(docker("inspect", stack.container(service)))
        host = inspected["HostConfig"]
        faults = [
            *(["is privileged"] if host["Privileged"] else []),
            *(["has capabilities"] if host["CapDrop"] != ["ALL"] or host["CapAdd"] else []),
            *(["may gain privileges"] if "no-new-privileges:true" not in host["SecurityOpt"] else []),
            *(["may write into its image"] if not host["ReadonlyRootfs"] else []),
            *(["has no limits"] if not host["Memory"] or not host["PidsLimit"] else []),
        ]
        user = docker("exec", stack.container(service), "id", "-u").strip()
        faults += ["is root"] if user == "0" else []
        if faults:
            raise Failed(f"{service} {', '.join(faults)}")


def check_addresses(stack: Stack) -> None:
    """Nothing is published beyond loopback. Raises: Failed."""
    for service in stack.running():
        shown = docker("inspect", "--format", "{{json .NetworkSettings.Ports}}", stack.container(service))
        hosts = {one["HostIp"] for bound in (json.loads(shown) or {}).values() for one in bound or ()}
        if hosts - {"127.0.0.1"}:
            raise Failed(f"{service} is published at {hosts}")


def check_restore(stack: Stack) -> None:
    """A backup is made and put back as docs/deployment.md says, word by word. Raises: Failed."""
    print("  restoring a backup", flush=True)
    page = (ROOT / "docs/deployment.md").read_text().partition("\n### Backups\n")[2].partition("\n##")[0]
    backup, restore = re.findall(r"^```sh\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    before = stack.create(task("before", 0))
    expect(stack, before, "before", "")
    stack.follow(backup)
    later = stack.create(task("later", 0))
    expect(stack, later, "later", "")
    stack.follow(restore)
    stack.wait_until_ready()
    found = [stack.client.get(f"/ga4gh/tes/v1/tasks/{task_id}").status_code for task_id in (before, later)]
    if found != [200, 404]:
        raise Failed(f"a task from before the backup and one from later are answered {found}")
    expect(stack, stack.create(task("afterwards", 0)), "afterwards", "")


def check_prometheus(stack: Stack) -> None:
    """It scrapes the API, and knows the alerts. Raises: Failed."""
    url = f"http://127.0.0.1:{stack._ports['PROMETHEUS_PORT']}/api/v1"

    def is_up() -> bool:
        found = httpx.get(f"{url}/query", params={"query": 'up{job="tesp"}'}).json()["data"]["result"]
        return [one["value"][1] for one in found] == ["1"]

    poll(is_up, timeout_s=60, every_s=0.5, why="Prometheus does not scrape the API")
    groups = httpx.get(f"{url}/rules").json()["data"]["groups"]
    if not any(rule["name"] == "TespDown" for group in groups for rule in group["rules"]):
        raise Failed(f"Prometheus has no alerts of ours: {groups}")

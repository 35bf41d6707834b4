"""Tasks as clients that cannot run here would send them, written after their sources."""

from typing import Any


def nextflow_task(work_dir: str, script: str, *, outputs: tuple[dict[str, str], ...] = ()) -> dict[str, Any]:
    """A process of Nextflow whose work folder is `work_dir`; its `.command.run` and `.command.sh` lie there.

    Paths of a local work folder go in as they are, without a scheme. The tags are absent unless configured.
    Source: nextflow-io/nf-ga4gh at 95f43e3, src/main/groovy/nextflow/ga4gh/tes/, executor/
    TesTaskHandler.groovy: newTesTask (221-271), inItem (289-300), outItem (315-334); client/model/
    TesResources.java (68-69, backend_parameters_strict is always sent).
    """
    control = (".command.out", ".command.err", ".command.log", ".exitcode")
    return {
        "name": "count (1)",
        "inputs": [
            {"url": f"{work_dir}/{name}", "path": f"/work/{name}", "type": "FILE"}
            for name in (".command.sh", ".command.run")
        ],
        "outputs": [
            *({"url": f"{work_dir}/{name}", "path": f"/work/{name}"} for name in control),
            *outputs,
        ],
        "resources": {"cpu_cores": 1, "ram_gb": 0.5, "backend_parameters_strict": False},
        "executors": [
            {
                "image": "ubuntu:22.04",
                "command": ["bash", "-o", "pipefail", "-c", script],
                "workdir": "/work",
            }
        ],
    }


NEXTFLOW_COMMAND = "bash /work/.command.run 2>&1 | tee /work/.command.log"


def cromwell_task(call_root: str, *, whole_folder: bool = False) -> dict[str, Any]:
    """A call of Cromwell with a local file system as its root: bare paths as URLs, nulls in its maps.

    The script is an input and an output at once; with output mode ROOT the whole folder is an output, and
    so is a folder in it, with a slash at its end.
    Source: broadinstitute/cromwell at c805f3c, supportedBackends/tes/src/main/scala/cromwell/backend/impl/
    tes/TesTask.scala: commandScript (55-70), standardOutputs (94-102), handleGlobFile (132-154), cwdOutput
    (198-204), executors (227-237), makeResources (254-289), makeTags (313-321, null for a workflow without
    a parent); TesResponseJsonFormatter.scala (absent options are left out, but not in maps).
    """
    execution = f"{call_root}/execution"
    docker_root = "/cromwell-executions/hello/0f2c/call-greet/execution"
    glob = [
        {
            "name": "globDir.0",
            "description": "hello.greet.globDir.0",
            "url": f"{execution}/glob-1a2b/",
            "path": f"{docker_root}/glob-1a2b/",
            "type": "DIRECTORY",
        },
        {
            "name": "globList.0",
            "description": "hello.greet.globList.0",
            "url": f"{execution}/glob-1a2b.list",
            "path": f"{docker_root}/glob-1a2b.list",
            "type": "FILE",
        },
    ]
    granular = [
        {
            "name": name,
            "description": f"hello.greet.{name}",
            "url": f"{execution}/{file}",
            "path": f"{docker_root}/{file}",
            "type": "FILE",
        }
        for name, file in (
            ("rc", "rc"),
            ("stdout", "stdout"),
            ("stderr", "stderr"),
            ("commandScript", "script"),
        )
    ]
    root = {
        "name": "execution.dir.output",
        "description": "hello.greet.execution.dir.output",
        "url": execution,
        "path": docker_root,
        "type": "DIRECTORY",
    }
    return {
        "name": "hello.greet",
        "description": "BackendJobDescriptorKey_CommandCallNode_hello.greet:-1:1",
        "inputs": [
            {
                "name": "commandScript",
                "description": "hello.greet.commandScript",
                "url": f"{execution}/script",
                "path": f"{docker_root}/script",
                "type": "FILE",
            }
        ],
        "outputs": [root, *glob] if whole_folder else [*granular, *glob],
        "resources": {
            "cpu_cores": 1,
            "ram_gb": 0.5,
            "disk_gb": 0.25,
            "preemptible": False,
            "backend_parameters": {"internal_path_prefix": f"{call_root}/tes_task", "maxRetries": None},
        },
        "executors": [
            {
                "image": "ubuntu:22.04",
                "command": ["/bin/bash", f"{docker_root}/script"],
                "stdout": f"{docker_root}/stdout",
                "stderr": f"{docker_root}/stderr",
            }
        ],
        "tags": {"workflow_id": "0f2c", "root_workflow_id": "0f2c", "parent_workflow_id": None},
    }

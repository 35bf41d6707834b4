"""The demo from the server's start to its end."""

import json
from pathlib import Path
from typing import Any

from tesp_api.cli.client import TespClient
from tesp_api.cli.demo.report import follow, say, show_end, show_next_steps
from tesp_api.cli.demo.runtime import IMAGE, Choice
from tesp_api.cli.demo.servers import run_server, serve_files

DATA = Path(__file__).with_name("data")

_TASK_WITHIN_S = 120


def run_demo(folder: Path, runtime: Choice) -> None:
    """Start both servers, run the task, show what came of it; everything is kept below `folder`.

    Raises:
        CommandFailed: the server did not start, or the task did not end COMPLETE.
    """
    results = folder / "results"
    results.mkdir()
    settings_file = folder / "settings.toml"
    settings_file.write_text(_settings(folder, results, runtime))
    with serve_files(DATA) as files_url, run_server(settings_file, folder / "server.log") as url:
        say(f"Server:     {url}, data folder {folder}")
        say(f"Genome:     {files_url}/lambda.fa, phage lambda, NC_001416.1, 48,502 bases")
        with TespClient(url) as client:
            task_id = client.create(genome_task(f"{files_url}/lambda.fa", results))
            say(f"Task:       {task_id}\n")
            task = follow(client, task_id, within_s=_TASK_WITHIN_S)
        show_end(task, results)
    show_next_steps()


def genome_task(genome_url: str, results: Path) -> dict[str, Any]:
    """The TES task: composition, G+C in windows, and the ten most frequent words of six bases."""
    programs = [
        {"path": f"/demo/{name}", "content": (DATA / name).read_text()}
        for name in ("composition.awk", "gc_windows.awk", "kmers.awk")
    ]
    words = "awk -v k=6 -f /demo/kmers.awk /demo/lambda.fa | sort -k2,2nr -k1,1 | head -n 10"
    executors = [
        _executor("composition", ["awk", "-f", "/demo/composition.awk", "/demo/lambda.fa"]),
        _executor("gc_windows", ["awk", "-v", "width=2500", "-f", "/demo/gc_windows.awk", "/demo/lambda.fa"]),
        _executor("kmers", ["sh", "-c", words]),
    ]
    return {
        "name": "phage lambda at a glance",
        "inputs": [{"path": "/demo/lambda.fa", "url": genome_url}, *programs],
        "outputs": [{"path": "/results/*.tsv", "path_prefix": "/results", "url": f"file://{results}"}],
        "executors": executors,
        "volumes": ["/results"],
        "resources": {"cpu_cores": 1, "ram_gb": 0.5},
        "tags": {"genome": "NC_001416.1"},
    }


def _executor(name: str, command: list[str]) -> dict[str, Any]:
    return {"image": IMAGE, "command": command, "stdout": f"/results/{name}.tsv"}


def _settings(folder: Path, results: Path, runtime: Choice) -> str:
    """The server's settings as TOML, whose strings and lists are written as JSON's are."""
    return f"""
[default]
data_dir = {json.dumps(str(folder / "data"))}

[default.transfers]
local_networks = ["127.0.0.0/8"]

[default.destinations.local]
runtimes = {json.dumps(runtime.engines)}
allow_bubblewrap = {json.dumps(runtime.bubblewrap)}
network = "none"
file_roots = [{{ path = {json.dumps(str(results))} }}]
"""

"""Make the pictures in docs/dashboard/: `make test-services`, `python -m tests.browser.screenshots`."""

import io
import tempfile
from pathlib import Path
from typing import Any

from PIL import Image

from tests.acceptance.servers import environment_of
from tests.acceptance.test_cwl import submit
from tests.acceptance.workflow_runs import wait
from tests.services.browser import PHONE, Browser
from tests.services.cwl_engine import engines_folder
from tests.services.tesp import TespServer

FOLDER = Path(__file__).parents[2] / "docs" / "dashboard"
READS = "".join(f">read{n}\n{'GATTACACCGGAATTCAT' * (n % 3 + 1)}\n" for n in range(1, 200))


def tool(inputs: dict[str, Any], script: str, out: str) -> dict[str, Any]:
    """A command-line tool that writes one file."""
    given = {
        name: {**kind, "inputBinding": {"position": at}} for at, (name, kind) in enumerate(inputs.items())
    }
    return {
        "class": "CommandLineTool",
        "cwlVersion": "v1.2",
        "inputs": given,
        "outputs": {"out": {"type": "File", "outputBinding": {"glob": out}}},
        "baseCommand": ["sh", "-c", script, "--"],
    }


FILE, FILES = {"type": "File"}, {"type": "File[]"}
VARIANTS: dict[str, Any] = {
    "flow.cwl": {
        "class": "Workflow",
        "cwlVersion": "v1.2",
        "requirements": {"ScatterFeatureRequirement": {}},
        "inputs": {"samples": "string[]", "reference": "string"},
        "outputs": {"report": {"type": "File", "outputSource": "report/out"}},
        "steps": {
            "index": {"run": "index.cwl", "in": {"x": "reference"}, "out": ["out"]},
            "align": {
                "run": "align.cwl",
                "scatter": "x",
                "in": {"x": "samples", "index": "index/out"},
                "out": ["out"],
            },
            "coverage": {"run": "coverage.cwl", "in": {"x": "align/out"}, "out": ["out"]},
            "call_variants": {"run": "call.cwl", "in": {"x": "align/out"}, "out": ["out"]},
            "report": {
                "run": "report.cwl",
                "in": {"x": "coverage/out", "y": "call_variants/out"},
                "out": ["out"],
            },
        },
    },
    "index.cwl": tool({"x": {"type": "string"}}, "sleep 2; echo $1 > index", "index"),
    "align.cwl": tool({"x": {"type": "string"}, "index": FILE}, "sleep 4; echo $1 > $1.bam", "*.bam"),
    "coverage.cwl": tool({"x": FILES}, 'sleep 2; cat "$@" > coverage.txt', "coverage.txt"),
    "call.cwl": tool({"x": FILES}, 'sleep 20; cat "$@" > calls.vcf', "calls.vcf"),
    "report.cwl": tool({"x": FILE, "y": FILE}, 'cat "$@" > report.html', "report.html"),
}


def main() -> None:
    """Run what can be seen, and look at it."""
    FOLDER.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as made:
        results = Path(made) / "results"
        results.mkdir()
        with environment_of("embedded-bubblewrap", roots={results: "rw"}) as settings:
            engines = {"TESP_API_WES__ENGINES_DIR": str(engines_folder())}
            with TespServer(settings | engines) as server, Browser() as browser:
                _take_all(server, browser, results)


def _take_all(server: TespServer, browser: Browser, results: Path) -> None:
    task_id = server.run(_genome(results))["id"]
    for name, script in (
        ("fails on purpose", "exit 3"),
        ("align sample 17", "sleep 1"),
        ("quality check", "true"),
    ):
        server.run(_shell(name, script))
    server.create(_shell("assemble contigs", "for i in $(seq 60); do echo round $i of 60; sleep 1; done"))
    params = {"samples": ["liver", "kidney", "heart"], "reference": "GRCh38"}
    run_id = submit(server, VARIANTS, params)
    wide = browser.context(viewport={"width": 1200, "height": 760}, color_scheme="light")
    dark = browser.context(viewport={"width": 1200, "height": 760}, color_scheme="dark")
    phone = browser.context(viewport=PHONE, color_scheme="light", device_scale_factor=1.5)
    page = _open(wide, server, f"runs/{run_id}")
    page.locator(".node", has_text="call_variants").wait_for(timeout=120_000)
    page.locator(".node", has_text="coverage").locator(".step-state", has_text="Complete").wait_for(
        timeout=120_000
    )
    _save(page, "run")
    _save(_open(wide, server, "tasks"), "tasks")
    _save(_open(dark, server, f"tasks/{task_id}"), "task-dark")
    _save(_open(wide, server, f"tasks/{task_id}"), "task")
    _save(_open(wide, server, "submit"), "submit")
    _save(_open(wide, server, "destinations"), "destinations")
    _save(_open(phone, server, f"tasks/{task_id}"), "phone")
    wait(server, run_id)


def _shell(name: str, script: str, **more: Any) -> dict[str, Any]:
    tags = {"project": "lambda"}
    executor = {"image": "busybox:latest", "command": ["sh", "-c", script]}
    return {"name": name, "executors": [executor], "tags": tags, **more}


def _genome(results: Path) -> dict[str, Any]:
    task = _shell(
        "count bases of lambda",
        "for i in 1 2 3 4 5; do echo part $i of 5; sleep 0.4; done; grep -v '>' /data/reads.fa > /out/bases",
        inputs=[{"path": "/data/reads.fa", "content": READS}],
        outputs=[{"path": "/out/counts.tsv", "url": f"{results.as_uri()}/counts.tsv"}],
        volumes=["/out"],
        resources={"cpu_cores": 1, "ram_gb": 0.5},
    )
    count = "fold -w 1 /out/bases | sort | uniq -c | tee /out/counts.tsv; sleep 1"
    task["executors"].append({"image": "busybox:latest", "command": ["sh", "-c", count]})
    return task


def _open(context: Any, server: TespServer, address: str) -> Any:
    page = context.new_page()
    page.goto(f"{server.url}/ui/{address}")
    page.locator("main :is(.card, .list tr, .examples)").first.wait_for()
    page.wait_for_timeout(2500)
    return page


def _save(page: Any, name: str) -> None:
    picture = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
    picture.save(FOLDER / f"{name}.webp", quality=88, method=6)


if __name__ == "__main__":
    main()

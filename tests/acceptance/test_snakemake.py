"""Snakemake over WES on a real server: each job a real task, its files in the run's storage."""

import io
import json
import random
import time
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped]
import pytest
from typer.testing import CliRunner

from tesp_api.cli.main import app
from tests.acceptance.workflow_runs import TESP, WES, cancel_within_5_s, get, steps, tasks, wait
from tests.services.s3_servers import S3Place
from tests.services.snakemake_engine import snakemake_server, submit
from tests.services.tesp import FINAL, TespServer, poll

pytestmark = pytest.mark.services

FILES: dict[str, str] = {
    "workflow/Snakefile": """
import pandas as pd

configfile: "config/config.yaml"
WORDS = list(pd.read_csv(config["words"], sep="\\t")["word"])

include: "rules/count.smk"

rule all:
    input: "results/all.txt", "results/counts.tsv"

rule say:
    output: "results/{word}.txt"
    log: "logs/{word}.log"
    params: pause=config.get("pause", 0)
    shell: "sleep {params.pause}; echo {wildcards.word}; (echo said {wildcards.word} > {output}) 2> {log}"

rule gather:
    input: expand("results/{word}.txt", word=WORDS)
    output: ensure("results/all.txt", md5="3c99ea0dfd4b732da14a2c7217c35b1e")
    threads: 2
    benchmark: "benchmarks/gather.tsv"
    shell: "sh workflow/scripts/join.sh {input} > {output}"
""",
    "workflow/rules/count.smk": """
rule count:
    input: texts=rules.gather.input if False else expand("results/{word}.txt", word=WORDS)
    output: "results/counts.tsv"
    script: "../scripts/count.py"
""",
    "workflow/scripts/join.sh": 'cat "$@"\n',
    "workflow/scripts/count.py": """
with open(snakemake.output[0], "w") as out:
    for path in snakemake.input.texts:
        with open(path) as text:
            out.write(f"{path}\\t{len(text.read())}\\n")
""",
    "config/config.yaml": "words: config/words.tsv\n",
    "config/words.tsv": "word\na\nb\nc\n",
}
FLOW = {
    "Snakefile": """
rule all:
    input: "all.txt"

rule say:
    output: "{word}.txt"
    shell: "sleep {config[pause]}; echo said {wildcards.word:q} > {output:q}"

rule gather:
    input: expand("{word}.txt", word=config["words"])
    output: "all.txt"
    shell: "cat {input:q} > {output}"
"""
}


@pytest.fixture(scope="module", name="server")
def started_server() -> Iterator[TespServer]:
    with snakemake_server() as server:
        yield server


def located(outputs: Mapping[str, Any], path: str) -> str:
    """The URL of a file among the outputs."""
    first, *rest = path.split("/")
    item = outputs[first]
    for part in rest:
        item = {one["basename"]: one for one in item["listing"]}[part]
    return str(item["location"])


def test_a_run(server: TespServer) -> None:
    said = server.client.get(f"{WES}/service-info").json()
    assert "9" in said["workflow_type_versions"]["SMK"]["workflow_type_version"]
    run = wait(server, submit(server, FILES))
    assert run["state"] == "COMPLETE", run["run_log"]["system_logs"]
    outputs = run["outputs"]
    assert server.client.get(located(outputs, "results/all.txt")).text == "said a\nsaid b\nsaid c\n"
    counts = server.client.get(located(outputs, "results/counts.tsv")).text
    assert counts == "".join(f"results/{word}.txt\t7\n" for word in "abc")
    shown = {task["name"]: task for task in run["task_logs"]}
    assert sorted(shown) == ["count", "gather", "say (word=a)", "say (word=b)", "say (word=c)"]
    assert {task["exit_code"] for task in shown.values()} == {0}
    assert server.client.get(shown["say (word=a)"]["stdout"]).text == "a\n"
    task = server.client.get(shown["gather"]["tes_uri"], params={"view": "FULL"}).json()
    assert task["tags"]["wes.run_id"] == run["run_id"]
    assert task["resources"]["cpu_cores"] == 2
    archive = server.client.get(f"{TESP}/runs/{run['run_id']}/outputs.zip").content
    with zipfile.ZipFile(io.BytesIO(archive)) as opened:
        names = opened.namelist()
    assert names == ["outputs.json", "results/all.txt", "results/counts.tsv"]


def test_a_run_whose_files_are_in_s3(moto: S3Place) -> None:
    moto.client().create_bucket(Bucket="smk-runs")
    lab = {
        "url_prefix": "s3://smk-runs",
        "endpoint": moto.endpoint,
        "access_key_id": moto.access_key_id,
        "secret_access_key": moto.secret_access_key,
    }
    environment = {
        "TESP_API_CREDENTIALS": "@json " + json.dumps({"lab": lab}),
        "TESP_API_WES__WORK_URL": "s3://smk-runs/runs",
    }
    with snakemake_server(environment) as server:
        run = wait(server, submit(server, FLOW, {"words": ["a", "b #%20"], "pause": 0}))
        assert run["state"] == "COMPLETE", run["run_log"]["system_logs"]
        assert server.client.get(located(run["outputs"], "all.txt")).text == "said a\nsaid b #%20\n"


def test_a_failed_run_is_resumed(server: TespServer) -> None:
    """What has finished is taken over; a rule that was mended runs anew."""
    broken = {"Snakefile": FLOW["Snakefile"].replace("cat {input:q}", "echo no good >&2; exit 7; cat")}
    params = {"words": ["a", "b"], "pause": 0}
    failed = wait(server, submit(server, broken, params))
    assert failed["state"] == "EXECUTOR_ERROR"
    reason = failed["run_log"]["system_logs"][-1]
    assert "step gather (task " in reason and "exit code 7" in reason and "no good" in reason
    mended = wait(server, submit(server, FLOW, params, {"resume": failed["run_id"]}))
    assert mended["state"] == "COMPLETE", mended
    reused = {one["name"]: one.get("reused_from") for one in steps(server, mended["run_id"])}
    assert reused == {
        "say (word=a)": failed["run_id"],
        "say (word=b)": failed["run_id"],
        "gather": None,
    }
    assert server.client.get(located(mended["outputs"], "all.txt")).text == "said a\nsaid b\n"


def expanders(server: TespServer) -> list[psutil.Process]:
    """The processes in which Snakemake is; one that ends while it is looked at is none."""
    assert server.process is not None
    found = []
    for one in psutil.Process(server.process.pid).children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            if "engines.snakemake.expander.main" in one.cmdline():
                found.append(one)
    return found


def test_a_cancel_reaches_snakemake_and_every_task_within_5_s() -> None:
    with snakemake_server({"TESP_API_WES__SNAKEMAKE__SPARE": "false"}) as server:
        run_id = submit(server, FLOW, {"words": ["a", "b"], "pause": 600})
        running = lambda: [one["state"] for one in tasks(server, run_id)] == ["RUNNING"] * 2  # noqa: E731
        poll(running, timeout_s=60, why="the jobs do not start")
        cancel_within_5_s(server, run_id, "snakemake")


def test_kill_9_of_snakemake_and_of_the_server_repeats_nothing() -> None:
    chance = random.Random(7)
    words = [f"w{number}" for number in range(6)]
    with snakemake_server({"TESP_API_SCHEDULER__LEASE_S": "5"}) as server:
        run_id = submit(server, FLOW, {"words": words, "pause": 3})
        poll(lambda: tasks(server, run_id), timeout_s=60, why="nothing is submitted")
        for one in expanders(server):
            with suppress(psutil.NoSuchProcess):  # the sandbox's parts die together
                one.kill()
        for _ in range(2):
            time.sleep(chance.uniform(0.5, 4.0))
            server.kill()
            server.start()
        run = wait(server, run_id, timeout_s=180)
        assert run["state"] == "COMPLETE", (run, server.log[-3000:])
        text = "".join(f"said {word}\n" for word in words)
        assert server.client.get(located(run["outputs"], "all.txt")).text == text
        made = tasks(server, run_id)
        assert len(made) == len(words) + 1
        assert {len(task["logs"]) for task in made} == {1}


def test_the_command_line(tmp_path: Path, server: TespServer) -> None:
    for name, text in FILES.items():
        path = tmp_path / "flow" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (tmp_path / "mine.yml").write_text("words: config/words.tsv\npause: 0\n")
    snakefile = str(tmp_path / "flow/workflow/Snakefile")
    command = ["run", "submit", snakefile, str(tmp_path / "mine.yml"), "--wait", "--url", server.url]
    ended = CliRunner().invoke(app, command)
    assert ended.exit_code == 0, ended.output
    run_id = ended.output.split()[0]
    assert get(server, run_id)["state"] in FINAL
    command = ["run", "outputs", run_id, "--to", str(tmp_path / "to"), "--url", server.url]
    assert CliRunner().invoke(app, command).exit_code == 0
    assert (tmp_path / "to/results/all.txt").read_text() == "said a\nsaid b\nsaid c\n"


TAKEN_OVER = """
import gc, queue
from engines.inside.channel import Channel
channel = next(one for one in gc.get_objects() if isinstance(one, Channel))
answers = queue.SimpleQueue()
for number, document in enumerate(config["documents"]):
    step = {"key": f"k{number}", "name": "taken over", "document": document, "success_codes": [0]}
    channel.run_step(step, answers.put)
    answer = answers.get()
    print("ANSWER", answer.get("message") or answer["value"]["state"])
rule all:
    input: []
"""
"""A Snakefile that submits its own documents."""


def test_who_takes_over_snakemake_submits_for_his_own_run_alone(server: TespServer) -> None:
    quick = {"image": "busybox", "command": ["true"]}
    theirs = wait(server, submit(server, FLOW, {"words": ["a"], "pause": 0}))
    folder = server.data / "wes/work" / theirs["run_id"]
    documents = [
        {"executors": [quick], "inputs": [{"path": "/x", "url": f"file://{folder}/workdir/all.txt"}]},
        {"executors": [quick], "outputs": [{"path": "/x", "url": f"file://{folder}/workdir/all.txt"}]},
        {"executors": [quick], "inputs": [{"path": "/x", "url": f"file://{server.data}/secret.key"}]},
        {"executors": [quick], "tags": {"wes.run_id": theirs["run_id"], "wes.step": "gather"}},
    ]
    run_id = submit(server, {"Snakefile": TAKEN_OVER}, {"documents": documents})
    run = wait(server, run_id)
    said = server.client.get(run["run_log"]["stdout"]).text.splitlines()
    answers = [one.removeprefix("ANSWER ") for one in said if one.startswith("ANSWER ")]
    assert all("which only their own tasks may name" in one for one in answers[:2]), answers
    assert answers[2:] == ["SYSTEM_ERROR", "COMPLETE"], answers
    assert [one["tags"]["wes.step"] for one in tasks(server, run_id)] == ["taken over"] * 2
    assert len(tasks(server, theirs["run_id"])) == 2

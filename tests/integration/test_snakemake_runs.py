"""What Snakemake has done for a run, and how the run ends; its steps end as each test says."""

import json
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote, urlsplit

import pytest

from tesp_api.errors import RunCanceled
from tesp_api.settings import Settings
from tesp_api.tes.states import State
from tesp_api.tes.validation import validate_task
from tesp_api.wes.engines.base import EngineOutcome, Step, StepEnd
from tesp_api.wes.engines.snakemake.engine import SnakemakeEngine, snakemake_environment
from tests.fakes.run_host import FakeRunHost, failed
from tests.services.snakemake_engine import snakemake_run, snakemake_settings

pytestmark = pytest.mark.services

W = "/var/spool/snakemake"


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return snakemake_settings(tmp_path / "data")


async def expanded(
    folder: Path,
    snakefile: str,
    settings: Settings,
    ends: Any = failed,
    *,
    params: Mapping[str, Any] | None = None,
    files: Mapping[str, str] | None = None,
    **parameters: str,
) -> tuple[EngineOutcome, FakeRunHost]:
    """How a run of this Snakefile ended, and what it had done."""
    all_files = {"Snakefile": snakefile, **(files or {})}
    run = snakemake_run(folder / "run-1", all_files, params, engine_parameters=parameters)
    host = FakeRunHost(run, settings, ends)
    return await SnakemakeEngine(settings).execute(run, host), host


def path_of(url: str) -> Path:
    return Path(unquote(urlsplit(url).path))


def wrote(texts: Mapping[str, str]) -> Any:
    """The end of steps that have made their outputs: with these texts, or with their own names in them.

    A directory has in it what `texts` name below it.
    """

    def end(step: Step) -> StepEnd:
        sent = []
        for output in step.document["outputs"]:
            name = output["path"].removeprefix(f"{W}/")
            below = [one for one in texts if one.startswith(f"{name}/")]
            for one in below if output["type"] == "DIRECTORY" else [name]:
                url = (
                    f"{output['url']}{quote(one.removeprefix(f'{name}/'))}" if one != name else output["url"]
                )
                text = texts.get(one, f"{one}\n")
                path_of(url).parent.mkdir(parents=True, exist_ok=True)
                path_of(url).write_text(text)
                sent.append({"url": url, "path": one, "size_bytes": str(len(text))})
        times = {"start_time": "2026-01-01T00:00:00+00:00", "end_time": "2026-01-01T00:01:02.5+00:00"}
        log = {"logs": [{"exit_code": 0, **times}], "outputs": sent}
        return StepEnd(f"task-{step.name}", State.COMPLETE, log, step.document)

    return end


def document(host: FakeRunHost, name: str) -> Any:
    return next(step for step in host.steps if step.name == name).document


async def test_a_job_as_a_task(settings: Settings, tmp_path: Path) -> None:
    snakefile = """
rule all:
    input: "out/a.bam"

rule sort:
    input: "data/{sample}.sam", helper="scripts/helper.sh"
    output: "out/{sample}.bam", report(directory("out/{sample}.d"))
    log: "logs/{sample}.log"
    container: "docker://quay.io/biocontainers/samtools:1.17"
    threads: 3
    resources: mem_mb=1500, disk_mb=2500, runtime=7
    shell: "sort -T {resources.tmpdir} -@ {threads} {input[0]:q} > {output[0]} 2> {log}"
"""
    files = {"data/a.sam": "sam", "data/other.txt": "x", "scripts/helper.sh": "help", "lib.sh": "lib"}
    outcome, host = await expanded(tmp_path, snakefile, settings, wrote({}), files=files)
    assert outcome.state == State.COMPLETE, outcome
    [step] = host.steps
    assert step.name == "sort (sample=a)"
    task = step.document
    validate_task(dict(task))
    [executor] = task["executors"]
    assert executor["image"] == "quay.io/biocontainers/samtools:1.17"
    assert executor["workdir"] == W
    assert executor["env"]["OMP_NUM_THREADS"] == "3"
    assert executor["command"][-1] == "sort -T /tmp -@ 3 data/a.sam > out/a.bam 2> logs/a.log"
    assert task["resources"] == {
        "cpu_cores": 3,
        "ram_gb": 1.5,
        "disk_gb": 2.5,
        "backend_parameters": {"running_s": "420"},
    }
    inputs = {one["path"]: one["url"] for one in task["inputs"]}
    assert sorted(inputs) == [
        f"{W}/{name}" for name in ("data/a.sam", "data/other.txt", "lib.sh", "scripts/helper.sh")
    ]
    assert path_of(inputs[f"{W}/data/a.sam"]).read_text() == "sam"
    outputs = {one["path"]: one["type"] for one in task["outputs"]}
    assert outputs == {f"{W}/out/a.bam": "FILE", f"{W}/out/a.d": "DIRECTORY", f"{W}/logs/a.log": "FILE"}
    [folder] = outcome.outputs.values()
    assert (folder["class"], folder["basename"]) == ("Directory", "out")
    [file] = folder["listing"]
    assert (file["class"], file["basename"], file["size"]) == ("File", "a.bam", 10)


CHECKPOINT = """
def parts(wildcards):
    folder = checkpoints.split.get().output[0]
    with checkpoints.split.get().output[1].open() as index:
        names = index.read().split()
    assert names == sorted(glob_wildcards(folder + "/{name}.txt").name)
    return expand("upper/{name}.txt", name=names)

rule all:
    input: "all.txt"

checkpoint split:
    output: directory("parts"), "index.txt"
    shell: "split"

rule upper:
    input: "parts/{name}.txt"
    output: temp("upper/{name}.txt")
    shell: "tr a-z A-Z < {input} > {output}"

rule gather:
    input: parts
    output: touch("all.txt")
    benchmark: "gather.tsv"
    shell: "cat {input}"
"""


async def test_checkpoints_read_what_was_made(settings: Settings, tmp_path: Path) -> None:
    """The file is only fetched when it is opened; a directory's files are known without that."""
    ends = wrote({"parts/a.txt": "a", "parts/b.txt": "b", "index.txt": "a b"})
    outcome, host = await expanded(tmp_path, CHECKPOINT, settings, ends)
    assert outcome.state == State.COMPLETE, (outcome, host.logs)
    names = [step.name for step in host.steps]
    assert (names[0], {*names[1:3]}, names[3:]) == ("split", {"upper (name=a)", "upper (name=b)"}, ["gather"])
    inputs = {one["path"] for one in document(host, "gather")["inputs"]}
    assert inputs == {f"{W}/upper/a.txt", f"{W}/upper/b.txt"}
    benchmark = (tmp_path / "run-1/work/workdir/gather.tsv").read_text().splitlines()
    assert benchmark[0].startswith("s\th:m:s\t") and benchmark[1].startswith("62.5000\t0:01:02\tNA")


RANDOM = """
import random

rule all:
    input: "b.txt"

rule a:
    output: "a.txt"
    params: number=random.random()
    shell: "echo {params.number} > {output}"

rule b:
    input: "a.txt"
    output: "b.txt"
    retries: 1
    shell: "false"
"""


async def test_the_same_jobs_come_to_the_same_steps(settings: Settings, tmp_path: Path) -> None:
    """Even if the Snakefile tells another command each time; another attempt is another step."""

    def ends(step: Step) -> StepEnd:
        return failed(step) if step.name == "b" else wrote({})(step)

    outcome, host = await expanded(tmp_path, RANDOM, settings, ends)
    assert outcome.state == State.EXECUTOR_ERROR
    assert outcome.reason.startswith("step b (task task-1) ended with exit code 1; the end of its stderr:")
    assert "it went wrong" in outcome.reason
    assert [step.name for step in host.steps] == ["a", "b", "b"]
    assert host.steps[2].key in host.steps[1].later_keys
    run = snakemake_run(tmp_path / "run-1", {"Snakefile": RANDOM})
    again = await SnakemakeEngine(settings).execute(run, host)
    assert again == outcome
    assert len(host.steps) == 3
    anew = FakeRunHost(run, settings, ends)
    await SnakemakeEngine(settings).execute(run, anew)
    firsts = [[step.key.partition("-")[0] for step in one.steps] for one in (host, anew)]
    assert firsts[0] == firsts[1]
    assert host.steps[0].key != anew.steps[0].key


CHANGING = """
import time
now = time.time_ns()

rule all:
    input: f"b-{now}.txt"

rule a:
    output: f"a-{now}.txt", directory(f"a-{now}"), *[f"more-{n}" for n in range(config["more"])]
    shell: "make"

rule b:
    input: f"a-{now}.txt", f"a-{now}"
    output: f"b-{now}.txt"
    shell: "make"
"""


async def test_outputs_that_are_called_otherwise_each_time(settings: Settings, tmp_path: Path) -> None:
    """What a step has made is found under the name that it has after a restart, where it lies."""
    ended = wrote({})
    outcome, host = await expanded(tmp_path, CHANGING, settings, ended, params={"more": 0})
    assert outcome.state == State.COMPLETE, (outcome, host.logs)
    made = document(host, "a")["outputs"]
    del host.steps[1]
    run = snakemake_run(tmp_path / "run-1", {"Snakefile": CHANGING}, {"more": 0})
    again = await SnakemakeEngine(settings).execute(run, host)
    assert again.state == State.COMPLETE, (again, host.logs)
    inputs = document(host, "b")["inputs"]
    assert {one["url"] for one in inputs} == {one["url"] for one in made}
    assert not {one["path"] for one in inputs} & {one["path"] for one in made}
    run = snakemake_run(tmp_path / "run-1", {"Snakefile": CHANGING}, {"more": 1})
    refused = await SnakemakeEngine(settings).execute(run, host)
    assert refused.state == State.EXECUTOR_ERROR
    assert "its task was made when the rule had other outputs (2, now 3)" in refused.reason


ODD_NAMES = ["a=b", "a b", "a+b", "a:b", "\N{LATIN SMALL LETTER E WITH ACUTE}", "100%25"]


async def test_files_in_directories_may_have_any_name(settings: Settings, tmp_path: Path) -> None:
    snakefile = """
def names(wildcards):
    return sorted(glob_wildcards(checkpoints.split.get().output[0] + "/{name}.txt").name)

rule all:
    input: "all.txt"

checkpoint split:
    output: directory("parts")
    shell: "split"

rule gather:
    input: lambda wildcards: expand("parts/{name}.txt", name=names(wildcards))
    output: "all.txt"
    params: text=lambda _, input: open(input[0]).read()
    shell: "cat {params.text} > {output}"
"""
    texts = {f"parts/{name}.txt": "hello" for name in ODD_NAMES}
    outcome, host = await expanded(tmp_path, snakefile, settings, wrote(texts))
    assert outcome.state == State.COMPLETE, (outcome, host.logs)
    inputs = {one["path"] for one in document(host, "gather")["inputs"]}
    assert inputs == {f"{W}/parts/{name}.txt" for name in ODD_NAMES}


async def test_what_cannot_be_had_is_said_before_anything_runs(settings: Settings, tmp_path: Path) -> None:
    snakefile = """
rule all:
    input: "a", "b", "c", "d", "e"
rule a:
    output: "a"
    conda: "env.yaml"
    shell: "touch {output}"
rule b:
    output: "b"
    run: open(output[0], "w")
rule c:
    output: "c"
    wrapper: "v3.0.0/bio/samtools/sort"
rule d:
    output: "d"
    container: "images/tool.sif"
    shell: "touch {output}"
rule e:
    input: "pipe"
    output: "e"
    shell: "cat {input} > {output}"
rule f:
    output: pipe("pipe")
    shell: "echo > {output}"
rule g:
    output: "g"
    shell: "touch {output}"
"""
    files = {"env.yaml": "dependencies: []\n"}
    outcome, host = await expanded(tmp_path, snakefile, settings, files=files)
    assert outcome.state == State.EXECUTOR_ERROR
    for said in (
        "rule a: conda",
        "rule b: run",
        "rule c: wrapper",
        "rule d: container",
        "rule f: its output",
    ):
        assert said in outcome.reason, outcome.reason
    assert not host.steps
    chosen, host = await expanded(
        tmp_path, snakefile, settings, wrote({}), files=files, targets="a g", default_image="lab/tools:1"
    )
    assert chosen.state == State.COMPLETE, chosen
    assert {step.document["executors"][0]["image"] for step in host.steps} == {"lab/tools:1"}
    assert sorted(chosen.outputs) == ["a", "g"]
    default = settings.wes.snakemake.default_image
    named, _ = await expanded(
        tmp_path, snakefile, settings, wrote({}), files=files, targets="a", default_image=default
    )
    assert named.state == State.COMPLETE, named


@pytest.mark.parametrize(
    ("snakefile", "said"),
    [
        ("rule all:\n    input: 'missing.txt'\n", "missing.txt"),
        ("rule a\n", "SyntaxError"),
        ("raise ValueError('no such sample')\n", "no such sample"),
        ("import sys; sys.exit('enough')\n", "enough"),
        ("configfile: 'none.yaml'\n", "none.yaml"),
        ("rule a:\n    output: '../x'\n    shell: 'touch {output}'\n", "outside of the working directory"),
        ("rule a:\n    output: 'a?'\n    shell: 'touch {output}'\n", "must be without * ? ["),
        ("rule a:\n    output: 'a'\n    shell: 'touch {nothing}'\n", "nothing"),
        ("open('/etc/hostname')\n", "No such file"),
    ],
)
async def test_a_workflow_that_is_none(snakefile: str, said: str, settings: Settings, tmp_path: Path) -> None:
    outcome, host = await expanded(tmp_path, snakefile, settings)
    assert outcome.state == State.EXECUTOR_ERROR, outcome
    assert said in outcome.reason
    assert not host.steps


async def test_files_in_params(settings: Settings, tmp_path: Path) -> None:
    """A File becomes a path, wherever it lies; tasks get it from there."""
    lab = tmp_path / "lab"
    (lab / "many").mkdir(parents=True)
    (lab / "reads 1.fq").write_text("reads")
    (lab / "many/x.txt").write_text("x")
    snakefile = """
rule all:
    output: "out.txt"
    input: config["reads"], config["many"], config["nested"]["table"]
    shell: "cat {input:q} > {output}; echo {config[word]}"
"""
    params = {
        "reads": {"class": "File", "location": (lab / "reads 1.fq").as_uri()},
        "many": {"class": "Directory", "location": (lab / "many").as_uri()},
        "nested": {"table": {"class": "File", "location": "data/table.tsv"}},
        "word": "hello",
    }
    roots = {"local": {"file_roots": [{"path": str(lab), "mount": "ro"}]}}
    generous = snakemake_settings(tmp_path / "data", destinations=roots)
    files = {"data/table.tsv": "t"}
    outcome, host = await expanded(tmp_path, snakefile, generous, wrote({}), params=params, files=files)
    assert outcome.state == State.COMPLETE, (outcome, host.logs)
    [step] = host.steps
    inputs = {one["path"]: (path_of(one["url"]).name, one["type"]) for one in step.document["inputs"]}
    assert inputs == {
        f"{W}/inputs/reads/reads 1.fq": ("reads 1.fq", "FILE"),
        f"{W}/inputs/many/many": ("many", "DIRECTORY"),
        f"{W}/data/table.tsv": ("table.tsv", "FILE"),
    }
    assert step.document["executors"][0]["command"][-1].endswith("echo hello")
    (lab / "many/x.txt").write_text("more")
    _, other = await expanded(tmp_path / "2", snakefile, generous, wrote({}), params=params, files=files)
    assert other.steps[0].key != step.key
    refused, _ = await expanded(tmp_path, snakefile, settings, params=params, files=files)
    assert refused.state == State.EXECUTOR_ERROR
    assert "workflow_params.reads" in refused.reason and "outside the directories" in refused.reason
    broken = {"many": {"class": "Directory", "basename": "many", "listing": ["x.txt"]}}
    refused, _ = await expanded(tmp_path, snakefile, settings, params={**params, **broken}, files=files)
    assert refused.state == State.EXECUTOR_ERROR
    assert "workflow_params.many.listing[0]: must be an object" in refused.reason


def ran_in(folder: Path, python: Path) -> Any:
    """The end of steps that are run for real, in bubblewrap, where `python3` is one that has Snakemake."""

    def end(step: Step) -> StepEnd:
        place = folder / step.name
        [executor] = step.document["executors"]
        (place / Path(executor["workdir"]).relative_to(W)).mkdir(parents=True)
        for item in step.document["inputs"]:
            path = place / item["path"].removeprefix(f"{W}/")
            path.parent.mkdir(parents=True, exist_ok=True)
            if item["type"] == "DIRECTORY":
                shutil.copytree(path_of(item["url"]), path)
            else:
                path.write_text(item["content"] if "content" in item else path_of(item["url"]).read_text())
        confined = ["bwrap", "--ro-bind", "/", "/", "--dev", "/dev", "--proc", "/proc", "--tmpfs", "/tmp"]
        confined += ["--ro-bind", str(python.parents[1]), str(python.parents[1])]  # it may be below /tmp
        confined += ["--tmpfs", "/var/spool", "--bind", str(place), W, "--chdir", executor["workdir"]]
        path = f"{python.parent}:/usr/bin:/bin"
        environment = {"PATH": path, "HOME": "/tmp", **executor["env"]}
        words = [*confined, "--", *executor["command"]]
        ran = subprocess.run(words, env=environment, capture_output=True, text=True)
        if ran.returncode:
            log: dict[str, Any] = {"logs": [{"exit_code": ran.returncode, "stderr": ran.stderr}]}
            return StepEnd("task-1", State.EXECUTOR_ERROR, log)
        made = [place / Path(output["path"]).relative_to(W) for output in step.document["outputs"]]
        files = [one for path in made for one in (path.rglob("*") if path.is_dir() else [path])]
        texts = {str(one.relative_to(place)): one.read_text() for one in files if one.is_file()}
        ended: StepEnd = wrote(texts)(step)
        return ended

    return end


CODE = """
configfile: "config.yaml"
include: "common.smk"

rule all:
    input: "ran.txt", "bash.txt"

rule count:
    input: "data/{sample}.txt"
    output: "counts/{sample}.txt"
    log: "logs/{sample}.log"
    shell: "(wc -c < {input} | tee {output}) > {log}"

rule ran:
    input: expand("counts/{sample}.txt", sample=SAMPLES)
    output: "ran.txt"
    params: word=config["word"]
    run:
        with open(output[0], "w") as out:
            for path in input:
                out.write(params.word + shout(open(path).read()))

rule bash:
    input: "ran.txt"
    output: "bash.txt"
    params: more="a b"
    script: "scripts/x.sh"
"""


async def test_code_that_needs_snakemake_has_it(settings: Settings, tmp_path: Path) -> None:
    """And what needs only a shell does not: all these commands are run for real."""
    files = {
        "common.smk": "SAMPLES = ['a', 'b']\ndef shout(text): return text.strip() + '!\\n'\n",
        "config.yaml": "word: none\n",
        "scripts/x.sh": "tr '!' '?' < ${snakemake_input[0]} > ${snakemake_output[0]}\n"
        "echo ${snakemake_params[more]} >> ${snakemake_output[0]}\n",
        "data/a.txt": "four",
        "data/b.txt": "three",
    }
    ends = ran_in(tmp_path / "ran", snakemake_environment(settings).python)
    outcome, host = await expanded(
        tmp_path, CODE, settings, ends, files=files, params={"word": "n="}, snakemake_image="lab/snakemake"
    )
    assert outcome.state == State.COMPLETE, (outcome, host.logs)
    assert document(host, "ran")["executors"][0]["image"] == "lab/snakemake"
    assert document(host, "bash")["executors"][0]["image"] == "debian:stable-slim"
    assert path_of(outcome.outputs["ran.txt"]["location"]).read_text() == "n=4!\nn=5!\n"
    assert path_of(outcome.outputs["bash.txt"]["location"]).read_text() == "n=4?\nn=5?\na b\n"
    assert {one["path"] for one in document(host, "count (sample=a)")["inputs"]} == {
        f"{W}/{name}" for name in ("config.yaml", "data/a.txt", "scripts/x.sh")
    }


async def test_a_job_that_did_not_make_its_output_has_failed(settings: Settings, tmp_path: Path) -> None:
    """Its log is there nevertheless, and a pipe whose beginning fails has failed."""
    snakefile = """
rule all:
    input: "a.txt", "b.txt"
rule a:
    output: "deep/down/other.txt", "a.txt"
    log: "logs/a.log"
    shell: "echo hello > {log}; touch {output[0]}"
rule b:
    output: "b.txt"
    shell: "false | cat > {output}"
"""
    ends = ran_in(tmp_path / "ran", snakemake_environment(settings).python)
    outcome, _ = await expanded(tmp_path, snakefile, settings, ends, keep_going="true")
    assert outcome.state == State.EXECUTOR_ERROR
    assert "rule a has not made a.txt" in outcome.reason
    assert "step b (task task-1) ended with exit code 1; its stderr is empty" in outcome.reason
    assert (tmp_path / "ran/a/logs/a.log").read_text() == "hello\n"


MUCH = """
workdir: "sub"
localrules: b
scattergather: split=3

module other:
    snakefile: "other.smk"
use rule * from other as other_*

onsuccess: print("FINE")

rule all:
    default_target: True
    input: "d", "g.txt", "other.txt", "../top.txt", "e.txt"
rule a:
    output: temp("a.txt"), touch("t.flag")
    group: "g"
    shadow: "minimal"
    shell: "echo {workflow.basedir} > {output[0]}"
rule b:
    input: "a.txt", ancient("t.flag")
    output: protected("b.txt")
    shell: "cat {input} > {output}; echo more >> {output}"
rule d:
    input: "b.txt"
    output: directory("d")
    shell: "mkdir -p {output}/x; cp {input} {output}/x/y.txt"
rule e:
    input: "d", "b.txt"
    output: ensure("e.txt", non_empty=True)
    params: number=lambda _, input: open(input[1]).read().count("more")
    shell: "(find {input[0]} -type f; echo {params.number}) > {output}"
rule s:
    output: scatter.split("s/{scatteritem}.txt")
    shell: "for x in {output}; do echo x > $x; done"
rule g:
    input: gather.split("s/{scatteritem}.txt")
    output: "g.txt"
    shell: "cat {input} > {output}"
rule top:
    output: "../top.txt"
    shell: "printf top > {output}"
"""


async def test_what_snakefiles_may_have(settings: Settings, tmp_path: Path) -> None:
    """All these commands are run for real, in the place that a Snakefile has chosen."""
    files = {"other.smk": "rule o:\n    output: 'other.txt'\n    shell: 'echo o > {output}'\n"}
    ends = ran_in(tmp_path / "ran", snakemake_environment(settings).python)
    outcome, host = await expanded(tmp_path, MUCH, settings, ends, files=files)
    assert outcome.state == State.COMPLETE, (outcome, host.logs)
    assert {step.name for step in host.steps} == {"a", "b", "d", "e", "s", "g", "top", "other_o"}
    work = tmp_path / "run-1/work/workdir"
    told = {
        "top.txt": "top",
        "sub/b.txt": f"{W}\nmore\n",
        "sub/d/x/y.txt": f"{W}\nmore\n",
        "sub/e.txt": "d/x/y.txt\n1\n",
        "sub/g.txt": "x\nx\nx\n",
        "sub/other.txt": "o\n",
    }
    assert {name: (work / name).read_text() for name in told} == told
    listed = {one["basename"]: one["class"] for one in outcome.outputs["sub"]["listing"]}
    assert listed == {"d": "Directory", "e.txt": "File", "g.txt": "File", "other.txt": "File"}
    assert "FINE" in host.logs["stdout"].decode()


async def test_engine_parameters(settings: Settings, tmp_path: Path) -> None:
    snakefile = """
rule all:
    input: "b.txt"
rule a:
    output: "a.txt"
    threads: 8
    shell: "echo {config[x]} {threads} {resources.mem_mb} > {output}"
rule b:
    input: "a.txt"
    output: "b.txt"
    shell: "cat {input} > {output}"
"""
    outcome, host = await expanded(
        tmp_path,
        snakefile,
        settings,
        wrote({}),
        files={"c.yaml": "x: y\n"},
        configfiles="c.yaml",
        max_threads="2",
        default_resources="mem_mb=700",
        until="a",
    )
    assert outcome.state == State.COMPLETE, (outcome, host.logs)
    [step] = host.steps
    assert step.document["executors"][0]["command"][-1] == "echo y 2 700 > a.txt"
    assert step.document["resources"]["ram_gb"] == 0.7
    wrong, host = await expanded(tmp_path, snakefile, settings, jobs="many")
    assert (wrong.state, wrong.reason) == (
        State.EXECUTOR_ERROR,
        "the engine parameter jobs must be a number of tasks",
    )
    wrong, host = await expanded(tmp_path, snakefile, settings, targets="it's")
    assert wrong.state == State.EXECUTOR_ERROR
    assert wrong.reason.startswith("the engine parameter targets must be words") and not host.steps


async def test_a_server_that_says_no(settings: Settings, tmp_path: Path) -> None:
    snakefile = "rule a:\n    output: 'a'\n    shell: 'touch {output}'\n"

    def canceled(_: Step) -> StepEnd:
        raise RunCanceled("run-1")

    outcome, _ = await expanded(tmp_path, snakefile, settings, canceled)
    assert outcome.state == State.CANCELED

    def broken(_: Step) -> StepEnd:
        return StepEnd("task-1", State.SYSTEM_ERROR, {"system_logs": ["the site is on fire"]})

    outcome, _ = await expanded(tmp_path, snakefile, settings, broken)
    assert outcome.state == State.SYSTEM_ERROR
    assert "step a (task task-1) ended SYSTEM_ERROR: the site is on fire" in outcome.reason


ENSURED = """
rule all:
    input: "a.txt", "c.txt"
rule a:
    output: ensure("a.txt", non_empty=True)
    shell: "touch {output}"
rule c:
    input: "b.txt"
    output: "c.txt"
    shell: "touch {output}"
rule b:
    output: "b.txt"
    retries: 1
    shell: "touch {output}"
"""


async def test_scripts_get_the_numbers_of_numpy(settings: Settings, tmp_path: Path) -> None:
    snakefile = """
import numpy

rule count:
    output: "a.txt"
    params: n=numpy.int64(3), many=numpy.arange(2), half=numpy.float32(0.5)
    script: "count.py"
"""
    outcome, host = await expanded(tmp_path, snakefile, settings, wrote({}), files={"count.py": ""})
    assert outcome.state == State.COMPLETE, outcome
    [told] = [one["content"] for one in host.steps[0].document["inputs"] if one["path"].endswith(".json")]
    assert json.loads(told)["params"]["items"] == [3, [0, 1], 0.5]


async def test_what_snakemake_does_not_take_for_done_is_told(settings: Settings, tmp_path: Path) -> None:
    """And what was mended by another attempt is not: here the site fails, once."""
    seen: list[str] = []

    def ends(step: Step) -> StepEnd:
        seen.append(step.name)
        if step.name == "b" and seen.count("b") == 1:
            return StepEnd("task-1", State.SYSTEM_ERROR, {"system_logs": ["the site is on fire"]})
        ended: StepEnd = wrote({"a.txt": ""})(step)
        return ended

    outcome, _ = await expanded(tmp_path, ENSURED, settings, ends, keep_going="true")
    assert outcome.state == State.EXECUTOR_ERROR, outcome
    assert "empty output files" in outcome.reason and "a.txt (rule a" in outcome.reason
    assert "on fire" not in outcome.reason
    assert seen.count("b") == 2
    gone = ENSURED.replace('ensure("a.txt", non_empty=True)', '"a.txt", "other.txt"')

    def forgetful(step: Step) -> StepEnd:
        ended: StepEnd = wrote({})(step)
        return StepEnd("t", ended.state, {**ended.log, "outputs": ended.log["outputs"][:1]}, ended.document)

    outcome, _ = await expanded(tmp_path / "2", gone, settings, forgetful)
    assert outcome.state == State.EXECUTOR_ERROR
    assert "MissingOutputException" in outcome.reason and "other.txt" in outcome.reason


@pytest.mark.parametrize(
    ("ensured", "state"),
    [
        ('sha256="aa"', State.COMPLETE),
        ('md5=lambda wildcards: "bb"', State.COMPLETE),
        ('sha1="cc"', State.EXECUTOR_ERROR),
        ('sha256="dd"', State.EXECUTOR_ERROR),
    ],
)
async def test_a_checksum_is_the_one_that_the_worker_has_told(
    ensured: str, state: State, settings: Settings, tmp_path: Path
) -> None:
    """The file is too large to be read here, and is nowhere."""
    snakefile = f"""
rule all:
    output: ensure("a.bin", {ensured})
    shell: "make > {{output}}"
"""
    seen: list[Any] = []

    def end(step: Step) -> StepEnd:
        seen.append(step.document["resources"].get("backend_parameters"))
        [output] = step.document["outputs"]
        sent = {"url": output["url"], "path": output["path"], "size_bytes": str(10**12)}
        told = json.dumps([{**sent, "sha256": "aa", "md5": "bb", "sha1": "xx"}])
        log = {"logs": [{"exit_code": 0}], "outputs": [sent], "metadata": {"outputs": told}}
        return StepEnd("task-1", State.COMPLETE, log, step.document)

    outcome, _ = await expanded(tmp_path, snakefile, settings, end)
    assert outcome.state == state, outcome
    assert (state == State.COMPLETE) or "checksums that differ" in outcome.reason
    algorithm = ensured.partition("=")[0]
    assert seen == [None if algorithm == "sha256" else {"checksums": algorithm}]


async def test_a_large_file_is_not_read(settings: Settings, tmp_path: Path) -> None:
    """Its size is known, though."""
    snakefile = """
rule all:
    input: "big.txt"
    output: "b.txt"
    resources: mem_mb=lambda _, input: int(input.size_mb)
    params: text=lambda _, input: open(input[0]).read()
    shell: "echo {resources.mem_mb} {params.text}"
"""
    run = snakemake_run(tmp_path / "run-1", {"Snakefile": snakefile})
    with (run.attachments / "big.txt").open("wb") as file:
        file.truncate(100 * 1024**2)
    outcome = await SnakemakeEngine(settings).execute(run, FakeRunHost(run, settings))
    assert outcome.state == State.EXECUTOR_ERROR
    assert "a Snakefile may read files of up to" in outcome.reason, outcome.reason
    small = snakefile.replace("open(input[0]).read()", "'none'")
    (run.attachments / "Snakefile").write_text(small)
    host = FakeRunHost(run, settings, wrote({}))
    assert (await SnakemakeEngine(settings).execute(run, host)).state == State.COMPLETE
    assert host.steps[0].document["executors"][0]["command"][-1] == "echo 100 none"


async def test_many_files_are_read(settings: Settings, tmp_path: Path) -> None:
    """More in all than there is room for."""
    snakefile = """
with open("large", "wb") as file:
    for _ in range(215):
        file.write(bytes(1024**2))
NAMES = [f"{n}.bin" for n in range(3)]
for name in [*NAMES, NAMES[0]]:
    assert len(open(name, "rb").read()) == 15 * 1024**2

rule all:
    output: "b.txt"
    shell: "true"
"""
    run = snakemake_run(tmp_path / "run-1", {"Snakefile": snakefile})
    for number in range(3):
        with (run.attachments / f"{number}.bin").open("wb") as file:
            file.truncate(15 * 1024**2)
    host = FakeRunHost(run, settings, wrote({}))
    outcome = await SnakemakeEngine(settings).execute(run, host)
    assert outcome.state == State.COMPLETE, (outcome, host.logs)

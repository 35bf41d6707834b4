"""Judges outputs as cwltest does, which wants them as files of this machine."""

import shutil
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import httpx

from tesp_api.tes.states import State
from tesp_api.wes.engines.base import EngineOutcome
from tests.conformance.suite import ConformanceTest, local_name, use_cwltest

UNSUPPORTED_EXIT_CODE = 33


def verdict(test: ConformanceTest, outcome: EngineOutcome, folder: Path) -> str:
    """ "" if the outcome is what it should be; else why it is not. Outputs are laid out in `folder`."""
    if test.should_fail:
        return "it should fail, and does not" if outcome.state == State.COMPLETE else ""
    if outcome.state != State.COMPLETE:
        return f"{outcome.state}: {outcome.reason}"
    use_cwltest()
    from cwltest.compare import CompareFail, compare

    try:
        compare(test.output, _laid_out(dict(outcome.outputs), folder))
    except CompareFail as error:
        return str(error)
    return ""


def _laid_out(value: Any, folder: Path) -> Any:
    """The outputs with their files in a folder, under the names that the outputs give them."""
    if isinstance(value, list):
        return [_laid_out(one, folder / str(number)) for number, one in enumerate(value)]
    if not isinstance(value, dict):
        return value
    kind = value.get("class")
    if kind not in ("File", "Directory"):
        return {name: _laid_out(one, folder / name) for name, one in value.items()}
    folder.mkdir(parents=True, exist_ok=True)
    place = folder / (value.get("basename") or local_name(value["location"]))
    item = {**value, "location": str(place), "path": str(place)}
    if kind == "File":
        _fetch(value["location"], place)
        if "secondaryFiles" in value:
            item["secondaryFiles"] = [_laid_out(one, folder) for one in value["secondaryFiles"]]
    else:
        place.mkdir(exist_ok=True)
        item["listing"] = [_laid_out(one, place) for one in value.get("listing", ())]
    return item


def _fetch(url: str, place: Path) -> None:
    """Files that a run has passed on unchanged may be of this machine; its own come from the server."""
    if url.startswith("file://"):
        shutil.copyfile(unquote(urlsplit(url).path), place)
        return
    answer = httpx.get(url)
    answer.raise_for_status()
    place.write_bytes(answer.content)

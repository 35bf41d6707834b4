"""Outputs: what is to be sent, found as the containers left it, and sent."""

from __future__ import annotations

import contextlib
import os
import posixpath
import stat
from itertools import islice
from typing import Any, Callable, Iterator, NamedTuple

from .attempt import Attempt
from .errors import StagingError, SystemFailure
from .order import Output
from .parallel import run_together
from .progress import Progress, Tally
from .transfer import Site, Source, close_connections, transfer_for
from .urls import extend, local_path, scheme_of, shown
from .view import View

MOST_FILES = 100_000
"""A few links to directories can make more of a tree than any disk holds."""


class Found(NamedTuple):
    """One file to send, or an empty directory to make."""

    url: str
    path: str
    """As the container names it."""
    resolved: str
    """The same without links."""
    is_directory: bool
    in_place: bool
    output: int = 0
    """The number of the declared output that it belongs to."""


class Missing(Exception):
    """A declared output is not there; the text says which and why."""


def stage_out(attempt: Attempt, tolerant: bool) -> None:
    """Send every declared output that exists, then complain about the others.

    Missing ones are only noted when `tolerant` (an executor has failed already).

    Raises: StagingError naming all that is missing; SystemFailure; Canceled.
    """
    attempt.check_sources()
    missing: list[str] = []
    found: dict[str, Found] = {}
    for number, output in enumerate(attempt.order.outputs):
        try:
            for item in find_output(output, attempt):
                missing += _add(item._replace(output=number), found)
                if len(found) > MOST_FILES:
                    raise SystemFailure(f"The outputs are more than {MOST_FILES} files")
        except (Missing, StagingError) as error:
            missing.append(str(error))
        except OSError as error:
            missing.append(f"The output {output.path} cannot be read: {error.strerror}")

    sent: dict[str, dict[str, Any]] = {}
    try:
        _send_all(found, attempt, sent)
    finally:
        close_connections()
        attempt.result.outputs += [
            {"url": shown(item.url), "path": item.path, **sent[item.url]}
            for item in found.values()
            if item.url in sent
        ]
    if missing and not tolerant:
        raise StagingError("; ".join(missing))
    for text in missing:
        attempt.record.message(text)


def _add(item: Found, found: dict[str, Found]) -> list[str]:
    """Add it by its place; what is wrong if something else goes there."""
    place = item.url if scheme_of(item.url) not in ("", "file") else local_path(item.url)
    first = found.setdefault(place, item)
    if first.resolved == item.resolved or (first.is_directory and item.is_directory):
        return []
    return [f"The output {item.path} cannot be stored: {shown(item.url)} is where {first.path} goes"]


def _send_all(found: dict[str, Found], attempt: Attempt, sent: dict[str, dict[str, Any]]) -> None:
    """Send files of the site one by one, others a few at once; `sent` gets sizes and checksums by URL."""
    progress = Progress(attempt.record.event)
    tallies = _tallies(found, attempt)
    site = _signing_ahead(found, attempt.transfers)

    def call(item: Found) -> Callable[[], None]:
        return lambda: _send(item, attempt, sent, progress, site._replace(progress=tallies[item.output]))

    remote = []
    try:
        for item in found.values():
            if scheme_of(item.url) in ("", "file") or attempt.order.site.has_gateway:
                call(item)()
            else:
                remote.append(call(item))
        run_together(remote, attempt.cancellation, attempt.order.site.transfers.at_once)
    finally:
        progress.close()


def _signing_ahead(found: dict[str, Found], site: Site) -> Site:
    """The same site, whose lender has S3's signatures ready for many files."""
    urls = [item.url for item in found.values() if scheme_of(item.url) == "s3" and not item.is_directory]
    if not urls:
        return site
    from .transfer.signatures import SigningAhead

    return site._replace(lender=SigningAhead(site.lender, urls))


def _tallies(found: dict[str, Found], attempt: Attempt) -> dict[int, Tally]:
    """One for each declared output, by its number."""
    counts = dict.fromkeys((item.output for item in found.values()), 0)
    for item in found.values():
        counts[item.output] += not (item.is_directory or item.in_place)
    outputs = attempt.order.outputs
    return {
        number: Tally(count, direction="output", url=shown(outputs[number].url), path=outputs[number].path)
        for number, count in counts.items()
    }


def find_output(output: Output, attempt: Attempt) -> Iterator[Found]:
    """The files of one declared output. Raises: Missing."""
    if output.is_pattern:
        yield from _find_by_pattern(output, attempt)
        return
    resolved, status = _look(attempt.view, output.path)
    if status is None:
        raise Missing(_why_missing(output.path, attempt.view))
    if output.type == "DIRECTORY":
        if not stat.S_ISDIR(status.st_mode):
            raise Missing(f"The output {output.path} is declared as a directory and is none")
        yield from _walk(attempt, output.url, output.path, resolved, _in_place(output, attempt))
    elif stat.S_ISREG(status.st_mode):
        yield Found(output.url, output.path, resolved, False, _in_place(output, attempt))
    else:
        raise Missing(f"The output {output.path} is no regular file")


def _why_missing(path: str, view: View) -> str:
    try:
        resolved = view.resolve(path)
    except OSError as error:
        return f"The output {path} cannot be followed: {error.strerror}"
    if resolved != path:
        return f"The output {path} is a link to {resolved}, which is not among the task's files"
    return f"The output {path} was not made"


def _look(view: View, path: str) -> tuple[str, os.stat_result | None]:
    try:
        resolved = view.resolve(path)
    except OSError:  # a loop of links
        return path, None
    return resolved, view.lstat(resolved)


def _in_place(output: Output, attempt: Attempt) -> bool:
    host = attempt.view.host_path(attempt.view.resolve(output.path))
    return host is not None and transfer_for(output.url).is_in_place(output.url, host, attempt.transfers)


def _is_shared(attempt: Attempt, url: str, target: str) -> bool:
    """Whether the URL of a link in a shared directory leads to what the container saw behind the link."""
    host = attempt.view.host_path(target)
    with contextlib.suppress(StagingError):
        return host is not None and transfer_for(url).is_in_place(url, host, attempt.transfers)
    return False


def _find_by_pattern(output: Output, attempt: Attempt) -> Iterator[Found]:
    prefix = output.path_prefix or ""
    count = 0
    for path in sorted(match_pattern(output.path, attempt.view)):
        relative = path[len(prefix) :] if path.startswith(prefix) else path
        url = extend(output.url, relative.lstrip("/")) if relative.strip("/") else output.url
        resolved, status = _look(attempt.view, path)
        if status is not None and stat.S_ISDIR(status.st_mode):
            yield from _walk(attempt, url, path, resolved, False)
        elif status is not None and stat.S_ISREG(status.st_mode):
            yield Found(url, path, resolved, False, False)
        else:
            _skip(attempt, path)
            continue
        count += 1
    if not count:
        raise Missing(f"Nothing matches the output pattern {output.path}")


def match_pattern(pattern: str, view: View) -> list[str]:
    """The container paths that a pattern matches, links to directories on the way followed.

    Raises: SystemFailure if they are too many.
    """
    from .wildcards import compile_name, has_wildcard  # few tasks have any

    paths = ["/"]
    for part in pattern.strip("/").split("/"):
        if has_wildcard(part):
            wanted = compile_name(part)
            named = (
                posixpath.join(path, name)
                for path in paths
                for name in _names(view, path)
                if wanted.match(name)
            )
            paths = list(islice(named, MOST_FILES + 1))
            if len(paths) > MOST_FILES:
                raise SystemFailure(f"The output pattern {pattern} matches more than {MOST_FILES} paths")
        else:
            paths = [posixpath.join(path, part) for path in paths]
    return [path for path in paths if _exists(view, path)]


def _exists(view: View, path: str) -> bool:
    parent, _ = _look(view, posixpath.dirname(path))
    return view.lstat(posixpath.join(parent, posixpath.basename(path))) is not None


def _names(view: View, path: str) -> list[str]:
    resolved, status = _look(view, path)
    names = set(view.names(resolved)) if status and stat.S_ISDIR(status.st_mode) else set()
    # Captured files (such as /a.txt for the pattern /*.txt) lie in no mounted directory.
    names |= {
        posixpath.basename(bind.target) for bind in view.binds if posixpath.dirname(bind.target) == resolved
    }
    return sorted(names)


def _walk(
    attempt: Attempt, url: str, path: str, resolved: str, in_place: bool, above: tuple[str, ...] = ()
) -> Iterator[Found]:
    """All files below a directory; `above` are the directories on the way here, to notice loops of links.

    One of which nothing can be sent counts as empty.

    Raises: Missing for a link in a shared directory to what is not shared; OSError.
    """
    is_empty = True
    for name in attempt.view.names(resolved):
        attempt.cancellation.check()
        here = posixpath.join(path, name)
        target, status = _look(attempt.view, posixpath.join(resolved, name))
        there = extend(url, name)
        is_link = target != posixpath.join(resolved, name)
        if in_place and is_link and status is not None and not _is_shared(attempt, there, target):
            raise Missing(f"The output {here} is a link to {target}, which is gone when the task has ended")
        if status is not None and stat.S_ISREG(status.st_mode):
            yield Found(there, here, target, False, in_place)
        elif status is not None and stat.S_ISDIR(status.st_mode) and target not in (*above, resolved):
            yield from _walk(attempt, there, here, target, in_place, (*above, resolved))
        else:
            _skip(attempt, here)
            continue
        is_empty = False
    if is_empty:
        yield Found(url, path, resolved, True, in_place)


def _skip(attempt: Attempt, path: str) -> None:
    attempt.record.message(
        f"Left out {path}: no regular file, a loop of links, or a link out of the task's files"
    )


def _send(
    item: Found, attempt: Attempt, sent: dict[str, dict[str, Any]], progress: Progress, site: Site
) -> None:
    attempt.cancellation.check()
    is_left = attempt.order.site.has_gateway and scheme_of(item.url) not in ("", "file")
    if item.is_directory:
        if is_left:
            _leave(item, None, attempt)
        elif not item.in_place:
            transfer_for(item.url).make_directory(item.url, attempt.transfers)
        return
    try:
        descriptor = attempt.view.open_regular(item.resolved, os.O_RDONLY)
    except OSError as error:
        raise StagingError(f"Cannot read the output {item.path}: {error.strerror}") from error
    try:
        status = os.fstat(descriptor)
        name = posixpath.basename(item.path)
        source = Source(descriptor, status.st_size, status.st_mtime_ns, status.st_mode, name)
        if item.in_place:
            sent[item.url] = {"size_bytes": status.st_size, **_checksums(source, attempt)}
            return
        if is_left:
            _leave(item, source, attempt)
        else:
            with progress.watch(site.progress):
                moved = transfer_for(item.url).send_file(source, item.url, site)
                sent[item.url] = {**moved._asdict(), **_checksums(source, attempt)}
                site.progress.finish(source.key)
    finally:
        os.close(descriptor)


def _checksums(source: Source, attempt: Attempt) -> dict[str, str]:
    """Those that the task asks for; the file was just read, so it is in memory where there is room."""
    wanted = attempt.order.resources.checksums
    if not wanted:
        return {}
    from .transfer.moving import digest_of

    return {name: digest_of(source, name, attempt.transfers) for name in wanted}


def _leave(item: Found, source: Source | None, attempt: Attempt) -> None:
    from .gateway import leave  # few sites have one

    leave(item, source, attempt)

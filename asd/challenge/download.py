"""Where a published file is, and how it comes to disk: resumable, and checked before it gets its name.

Sizes, checksums and addresses are those of Zenodo's record API, GET <archive>/api/records/<number>, whose answer lists
files as {"key": name, "size": bytes, "checksum": "md5:...", "links": {"self": address}}.

While it arrives, a file is called `<name>.<beginning of its checksum>.part`, so that another release of it is
never continued with these bytes.
"""

from __future__ import annotations

import difflib
import hashlib
import http.client
import re
import urllib.parse
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from asd.challenge.web import PassingError, Patience, RangeRefusedError, open_url, patiently, read_json
from asd.challenge.years import Archive, Repository, revision
from asd.core.runtime import log
from asd.types import AsdError

_CHUNK_BYTES = 1 << 18

OnBytes = Callable[[int], object]
"""Told how many bytes have arrived; a negative number takes some back. What it raises ends the download."""


@dataclass(frozen=True, slots=True)
class Remote:
    """A published file, with its size and checksum as its publisher states them; None where they are not stated."""

    name: str
    url: str
    size_bytes: int | None = None
    md5: str | None = None


def download(remote: Remote, path: Path, patience: Patience, on_bytes: OnBytes = int) -> None:
    """Fetch a file to `path`, continuing what an earlier attempt has left; one that is there and right stays.

    `AsdError` where it cannot be had, the disk is full, or its size or checksum is not what its publisher says.
    """
    if remote.md5 is not None and path.is_file() and _file_md5(path) == remote.md5:
        on_bytes(path.stat().st_size)
        return
    part = path.with_name(f"{path.name}.{(remote.md5 or 'unknown')[:8]}.part")
    if remote.md5 is None:
        part.unlink(missing_ok=True)  # nothing tells whether these bytes are of the same file
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        earlier = _size(part)
        on_bytes(earlier)
        patiently(lambda: _continue(remote, part, patience, on_bytes), remote.url, patience, lambda: _size(part))
        received = _file_md5(part)
        if remote.md5 in (None, received):
            part.replace(path)
            return
        _forget(part, on_bytes)
    except OSError as error:
        raise AsdError(
            f"cannot write {part} ({error.strerror or error}); free some space, the same command resumes"
        ) from error
    if earlier:
        log.warning("%s was continued from %d bytes that were not its own; from the start", path, earlier)
        download(remote, path, patience, on_bytes)
        return
    raise AsdError(
        f"{remote.url} has the checksum md5:{received} where its record says md5:{remote.md5}; "
        f"{path.name} is removed: run the same command again, and if that stays, tell its publisher"
    )


def _file_md5(path: Path) -> str:
    """Checksum of a file, as archives publish it: it guards against accidents, not against forgery."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _continue(remote: Remote, part: Path, patience: Patience, on_bytes: OnBytes) -> None:
    """One attempt to complete `part`; `PassingError` where it does not succeed."""
    have = _size(part)
    if have == remote.size_bytes:
        return
    if remote.size_bytes is not None and have > remote.size_bytes:
        have = _forget(part, on_bytes)
    try:
        response = open_url(remote.url, patience, have)
    except RangeRefusedError:
        _forget(part, on_bytes)
        raise
    with response:
        is_continued = response.status == 206 and response.headers.get("Content-Range", "").startswith(f"bytes {have}-")
        if have and not is_continued:  # some servers ignore what was asked for, and send everything
            have = _forget(part, on_bytes)
        announced = response.headers.get("Content-Length")
        total = have + int(announced) if announced is not None and announced.isdigit() else None
        if remote.size_bytes is not None and total not in (None, remote.size_bytes):
            raise PassingError(f"announces {total} bytes where its record says {remote.size_bytes}")
        expected = total if remote.size_bytes is None else remote.size_bytes
        with part.open("ab") as file:
            for chunk in _chunks(response):
                have += len(chunk)
                if expected is not None and have > expected:
                    break
                file.write(chunk)
                on_bytes(len(chunk))
    if expected is not None and have > expected:
        _forget(part, on_bytes)
        raise PassingError(f"sends more than the {expected} bytes that its record says")
    if expected is not None and have < expected:
        raise PassingError(f"broke off after {have} of {expected} bytes")


def _forget(part: Path, on_bytes: OnBytes) -> int:
    """Removes what was received; returns how much there is now."""
    on_bytes(-_size(part))
    part.unlink(missing_ok=True)
    return 0


def _chunks(response: http.client.HTTPResponse) -> Iterator[bytes]:
    while True:
        try:
            chunk = response.read1(_CHUNK_BYTES)  # as soon as something is there, however slow the line
        except http.client.IncompleteRead as error:
            yield error.partial
            raise PassingError("broke off") from error
        except (OSError, http.client.HTTPException) as error:
            raise PassingError(f"broke off ({error})") from error
        if not chunk:
            return
        yield chunk


Record = Mapping[str, Remote]  # file name -> file


class Sources:
    """Where published files are: in an archive such as https://zenodo.org, whose records are asked for once each."""

    def __init__(self, archive: str, evaluators: str, patience: Patience) -> None:
        self._archive, self._evaluators = archive.rstrip("/"), evaluators.rstrip("/")
        self._patience = patience
        self._records: dict[int, Record | AsdError] = {}

    def find(self, source: Archive | Repository) -> Remote:
        """The file behind a source, or a later release of it (`_r2`, `_r3`), with a warning.

        Neither size nor checksum is told of a repository.
        """
        if isinstance(source, Repository):
            title = f"{source.name.rsplit('/', 1)[-1]}-{source.commit[:12]}"
            return Remote(f"{title}.zip", f"{self._evaluators}/{source.name}/zip/{source.commit}")
        record = self._record(source.record)
        name = latest(record, source.file)
        if name is None:
            near = difflib.get_close_matches(source.file, record, n=1)
            hint = f"did it become {near[0]}?" if near else f"it has {', '.join(sorted(record))}"
            raise AsdError(f"record {source.record} has no {source.file}: {hint}")
        if name != source.file:
            log.warning("record %d replaces %s by %s, which is taken", source.record, source.file, name)
        return record[name]

    def _record(self, number: int) -> Record:
        if number not in self._records:
            try:
                self._records[number] = _read_record(self._archive, number, self._patience)
            except AsdError as error:  # not asked again for every machine
                self._records[number] = error
        found = self._records[number]
        if isinstance(found, AsdError):
            raise found
        return found


def _read_record(base: str, number: int, patience: Patience) -> Record:
    """The files of a record."""
    url = f"{base}/api/records/{number}"
    answer = read_json(url, patience)
    files = answer.get("files") if isinstance(answer, dict) else None
    if not isinstance(files, list) or not files:
        raise AsdError(f"{url} lists no files: is archive={base} the address of the archive?")
    try:
        return {entry["key"]: _remote(url, entry) for entry in files}
    except (KeyError, TypeError, ValueError) as error:
        raise AsdError(f"{url} does not tell key, size, md5 checksum and links.self of a file") from error


def latest(names: Iterable[str], wanted: str) -> str | None:
    """The latest release of `wanted` among file names, not older than it; None where there is none."""
    stem, least = revision(wanted)
    releases = [(revision(name)[1], name) for name in names if revision(name)[0] == stem]
    return max((release for release in releases if release[0] >= least), default=(0, None))[1]


def _remote(url: str, entry: Mapping[str, object]) -> Remote:
    name, size_bytes, links = entry["key"], entry["size"], entry["links"]
    kind, _, digest = str(entry["checksum"]).partition(":")
    if not (isinstance(name, str) and isinstance(size_bytes, int) and isinstance(links, Mapping)):
        raise TypeError(entry)
    if size_bytes < 1 or kind != "md5" or not re.fullmatch("[0-9a-f]{32}", digest) or re.search(r"[/\\]|^\.", name):
        raise ValueError(entry)
    return Remote(name, urllib.parse.urljoin(url, str(links["self"])), size_bytes, digest)

"""The record of a published archive: names, sizes, checksums and addresses of its files.

Source: Zenodo's record API, GET <archive>/api/records/<number>, whose answer lists files as
{"key": name, "size": bytes, "checksum": "md5:...", "links": {"self": address}}.
"""

from __future__ import annotations

import difflib
import re
import urllib.parse
from collections.abc import Iterable, Mapping

from asd.challenge.download import Remote
from asd.challenge.web import Patience, read_json
from asd.challenge.years import Archive, Repository, revision
from asd.core.runtime import log
from asd.types import AsdError

Record = Mapping[str, Remote]  # file name -> file


class Sources:
    """Where published files are; asks for each record once.

    Args:
        archive: address of the archive of records, such as https://zenodo.org.
        evaluators: address of the host of repositories, such as https://codeload.github.com.
        patience: with both.
    """

    def __init__(self, archive: str, evaluators: str, patience: Patience) -> None:
        self._archive, self._evaluators = archive.rstrip("/"), evaluators.rstrip("/")
        self._patience = patience
        self._records: dict[int, Record | AsdError] = {}

    def find(self, source: Archive | Repository) -> Remote:
        """The file behind a source, or a later release of it (`_r2`, `_r3`), with a warning.

        Neither size nor checksum is told of a repository.

        Raises:
            AsdError: the record cannot be had, or the file is not in it.
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
                self._records[number] = read_record(self._archive, number, self._patience)
            except AsdError as error:  # not asked again for every machine
                self._records[number] = error
        found = self._records[number]
        if isinstance(found, AsdError):
            raise found
        return found


def read_record(base: str, number: int, patience: Patience) -> Record:
    """The files of a record.

    Args:
        base: address of the archive, such as https://zenodo.org.
        number: of the record.
        patience: with the archive.

    Raises:
        AsdError: the record cannot be had, or does not tell name, size and MD5 checksum of its files.
    """
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
    """The latest release of `wanted` among file names, not older than it; None where there is none.

    Args:
        names: of files.
        wanted: name of one release.
    """
    stem, least = revision(wanted)
    releases = [(revision(name)[1], name) for name in names if revision(name)[0] == stem]
    return max((release for release in releases if release[0] >= least), default=(0, None))[1]


def _remote(url: str, entry: Mapping[str, object]) -> Remote:
    name, size_bytes, links = entry["key"], entry["size"], entry["links"]
    kind, _, digest = str(entry["checksum"]).partition(":")
    if not (isinstance(name, str) and isinstance(size_bytes, int) and isinstance(links, Mapping)):
        raise TypeError(entry)
    if kind != "md5" or not re.fullmatch("[0-9a-f]{32}", digest) or re.search(r"[/\\]|^\.", name):
        raise ValueError(entry)
    return Remote(name, urllib.parse.urljoin(url, str(links["self"])), size_bytes, digest)

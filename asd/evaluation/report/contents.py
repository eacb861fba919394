"""What a report shows: scores of each machine, sounds, pictures and maps of clips, and the HTML file of it."""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from importlib.resources import files
from itertools import chain, zip_longest
from pathlib import PurePath
from typing import Any

import numpy as np
import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from matplotlib.figure import Figure
from matplotlib.image import imsave
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE
from sklearn.metrics import roc_curve

from asd.evaluation.figures import save
from asd.evaluation.score_table import FloatArray
from asd.types import Domain, Label

_SCRIPTS = ("vendor/d3.min.js", "vendor/plot.umd.min.js", "report.js")
_DIGITS = 5  # of a score that the page shows
_DECIMALS = 4  # of points of a curve
_WEBP: dict[str, Any] = {"format": "webp", "pil_kwargs": {"quality": 70}}  # out of 100
_COMPONENTS = 30  # that t-SNE looks at
_PERPLEXITY = 30.0
LEAST_CLIPS = 5  # fewer make no map

_TIME = (
    r"(?:(?P<apart>[T_ /-]| at )?(?P<hour>\d\d)(?P<colon>[-_:.h]?)(?P<minute>\d\d)(?:[-_:.m]?(?P<second>\d\d))?)?"
    r"(?!\d)"
)
_DATES = (
    re.compile(rf"(?<!\d)(?P<year>20\d\d)(?P<gap>[-_./]?)(?P<month>\d\d)(?P=gap)(?P<day>\d\d){_TIME}"),
    re.compile(rf"(?<!\d)(?P<day>\d\d?)\.(?P<month>\d\d?)\.(?P<year>20\d\d){_TIME}"),
)


def recorded_at(name: str) -> datetime | None:
    """The date in a name, or else in the folders above it, with the time where it follows; None where there is none.

    Understands 20240131, 2024-01-31, 2024_01_31, 2024/01/31, 31.1.2024, each alone or followed by a time such as T1405,
    _14-05-59, at 14.05. A number of four digits in a folder with a date is none.
    """
    for text in (PurePath(name).name, name):
        for match in chain.from_iterable(date.finditer(text) for date in _DATES):
            parts = match.groupdict()
            is_counter = parts["apart"] == "/" and not parts["colon"] and not parts["second"]
            day = [int(parts[unit]) for unit in ("year", "month", "day")]
            time = [] if is_counter else [int(parts[unit] or 0) for unit in ("hour", "minute", "second")]
            for rest in (time, []):
                with suppress(ValueError):  # such as the 45th of a month: these digits are no date
                    return datetime(*day, *rest)  # type: ignore[arg-type]
    return None


@dataclass(frozen=True, slots=True)
class Medium:
    """A sound or a picture that the page holds."""

    content: bytes
    kind: str  # media type, such as audio/flac

    @property
    def n_characters(self) -> int:
        """Its size in the page."""
        return len(self.content) * 4 // 3

    @property
    def base64(self) -> str:
        """The content as text."""
        return base64.b64encode(self.content).decode()


@dataclass
class PageMedia:
    """Sounds and pictures of a page by name, up to a size."""

    most_characters: int  # that all of them may take together
    media: dict[str, Medium] = field(default_factory=dict)  # what is there

    @property
    def n_characters(self) -> int:
        """Their size together."""
        return sum(medium.n_characters for medium in self.media.values())

    def add(self, media: Mapping[str, Medium]) -> bool:
        """Takes all of the media, or none where there is no room; whether it took them."""
        new = {name: medium for name, medium in media.items() if name not in self.media}
        if self.n_characters + sum(medium.n_characters for medium in new.values()) > self.most_characters:
            return False
        self.media |= new
        return True


@dataclass(frozen=True)
class MachineScores:
    """The scored clips of one machine."""

    machine: str  # name
    table: pd.DataFrame  # score table (types.SCORE_COLUMNS) of the clips; label and domain are "" where unknown
    threshold: float  # above which a clip is called anomalous
    training_scores: FloatArray  # of normal training clips, (clips,); empty where they are unknown


@dataclass
class ShownClips:
    """What there is to show of the clips of a machine beside their scores, by row of its table."""

    conditions: Sequence[str] = ()  # attributes of each clip in words, "" where unknown
    paths: Sequence[str] = ()  # where each recording lies
    defects: Sequence[str] = ()  # what is wrong with each recording, "" for most
    # names of media and facts of the clips that have them: {row: {...}}
    parts: dict[int, dict[str, Any]] = field(default_factory=dict)
    maps: Mapping[str, FloatArray] = field(default_factory=dict)  # {method: (clips + training clips, 2)}
    map_rows: Sequence[int] = ()  # rows of the clips in the maps, in order
    # name, domain and condition of the training clips in the maps, in order
    map_training: Sequence[tuple[str, str, str]] = ()
    map_of: str = ""  # what the maps are of
    notes: list[str] = field(default_factory=list)  # sentences on what is shown and what was left out


def of_interest(table: pd.DataFrame, most: int) -> list[int]:
    """Rows worth a look, in order: the highest scores, and in turn the highest normal and lowest anomalous clips."""
    falling = table.sort_values("score", ascending=False, kind="stable")
    normal, anomalous = (falling.index[falling["label"] == label] for label in (Label.NORMAL, Label.ANOMALY))
    turns = chain.from_iterable(zip_longest(falling.index, normal, anomalous[::-1]))
    return [int(row) for row in dict.fromkeys(turns) if row is not None][:most]


def machine_part(scores: MachineScores, shown: ShownClips) -> dict[str, Any]:
    """One machine's part of the page: plain values."""
    table = scores.table.reset_index(drop=True)
    training = np.sort(scores.training_scores)
    above = len(training) - np.searchsorted(training, table["score"], side="right")
    ranks = table["score"].rank(method="first", ascending=False)
    paths = shown.paths or table["file"]
    defects = shown.defects or (table["defect"] if "defect" in table else [""] * len(table))
    clips = [
        {
            **row,
            "score": float(f"{row['score']:.{_DIGITS}g}"),
            "rank": int(ranks[i]),
            "share": round(float(above[i] / len(training)), 4) if len(training) else None,
            "condition": shown.conditions[i] if shown.conditions else "",
            "defect": defects[i],
            "at": moment.isoformat() if (moment := recorded_at(paths[i])) else None,
            **shown.parts.get(i, {}),
        }
        for i, row in enumerate(table[["file", "section", "domain", "label", "score"]].to_dict("records"))
    ]
    return {
        "machine": scores.machine,
        "threshold": float(scores.threshold),
        "labelled": bool((table["label"] != "").any()),
        "clips": clips,
        "training": [float(f"{value:.{_DIGITS}g}") for value in training],
        "roc": roc_curves(table[table["label"] != ""]),
        "maps": {method: np.round(points, 3).tolist() for method, points in shown.maps.items()},
        "map_rows": [int(row) for row in shown.map_rows],
        "map_training": [dict(zip(("file", "domain", "condition"), row, strict=True)) for row in shown.map_training],
        "map_of": shown.map_of,
        "notes": shown.notes,
    }


def roc_curves(table: pd.DataFrame) -> dict[str, dict[str, list[float]]]:
    """ROC curves of one machine: all clips, and the normal clips of each domain against all anomalies.

    Returns:
        {name: {"fpr": [...], "tpr": [...]}}, straight parts without inner points; {} where a class is missing.
    """
    is_anomaly = (table["label"] == Label.ANOMALY).to_numpy()
    scores = table["score"].to_numpy(float)
    groups = {"all clips": np.ones_like(is_anomaly)}
    groups |= {domain.value: (table["domain"] == domain).to_numpy() | is_anomaly for domain in Domain}
    curves = {}
    for name, chosen in groups.items():
        if 0 < is_anomaly[chosen].sum() < chosen.sum():
            fpr, tpr, _ = roc_curve(is_anomaly[chosen], scores[chosen])
            curves[name] = {"fpr": fpr.round(_DECIMALS).tolist(), "tpr": tpr.round(_DECIMALS).tolist()}
    return curves


def spectrogram_picture(levels_db: FloatArray, limits: tuple[float, float]) -> Medium:
    """A spectrogram (mels, frames) as a picture, low frequencies below; `limits`: darkest and brightest level."""
    file = io.BytesIO()
    imsave(file, levels_db, vmin=limits[0], vmax=limits[1], cmap="magma", origin="lower", **_WEBP)
    return Medium(file.getvalue(), "image/webp")


def figure_picture(figure: Figure) -> Medium:
    """A figure as it is."""
    file = io.BytesIO()
    save(figure, file, dpi=90, **_WEBP)
    return Medium(file.getvalue(), "image/webp")


def projections(vectors: FloatArray) -> dict[str, FloatArray]:
    """Maps of clips by PCA and t-SNE, {method: (clips, 2)}, each axis of unit spread; {} for a few clips.

    Neighbours in a t-SNE map are neighbours; distances between groups in it mean little. Both are functions of the
    vectors alone.

    Source: L. van der Maaten and G. Hinton, "Visualizing data using t-SNE", JMLR 9 (2008); by scikit-learn.
    """
    n_clips, n_dims = vectors.shape
    if n_clips < LEAST_CLIPS or not vectors.std(axis=0).any():
        return {}
    components = PCA(min(_COMPONENTS, n_clips, n_dims), svd_solver="full").fit_transform(vectors)
    perplexity = min(_PERPLEXITY, (n_clips - 1) / 3)
    embedded: Any = TSNE(perplexity=perplexity, init="pca", random_state=0).fit_transform(components)
    plane = np.zeros((n_clips, 2))
    plane[:, : min(2, components.shape[1])] = components[:, :2]
    return {"t-SNE": _of_unit_spread(embedded), "PCA": _of_unit_spread(plane)}


def _of_unit_spread(points: FloatArray) -> FloatArray:
    centred = np.asarray(points, np.float64) - points.mean(axis=0)
    return np.asarray(centred / max(float(centred.std()), 1e-12))


def as_html(contents: Mapping[str, Any], media: Mapping[str, Medium]) -> str:
    """The page of what the template `report.html.jinja` names, and sounds and pictures by the name that it calls them.

    What is under "data" goes to the page's script.
    """
    loader = PackageLoader("asd.evaluation.report", "")
    environment = Environment(loader=loader, undefined=StrictUndefined, autoescape=True)
    environment.trim_blocks = environment.lstrip_blocks = True
    environment.filters["percent"] = lambda share: f"{100 * share:.1f}"
    environment.filters["megabytes"] = lambda n_bytes: f"{n_bytes / 1e6:.1f} MB"
    environment.policies["json.dumps_kwargs"] = {"sort_keys": False}  # what comes first is shown first
    folder = files("asd.evaluation.report")
    return environment.get_template("report.html.jinja").render(
        style=Markup((folder / "report.css").read_text("utf-8")),  # a file of the package: nothing to escape
        scripts=[Markup((folder / name).read_text("utf-8")) for name in _SCRIPTS],
        media=media,
        **contents,
    )

"""The report as one HTML file that needs nothing else, by one template."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.resources import files
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from asd.evaluation.report.contents import Medium

_SCRIPTS = ("vendor/d3.min.js", "vendor/plot.umd.min.js", "report.js")


def as_html(contents: Mapping[str, Any], media: Mapping[str, Medium]) -> str:
    """The page.

    Args:
        contents: what the template `report.html.jinja` names; what is under "data" goes to the page's script.
        media: sounds and pictures by the name that the contents call them.
    """
    environment = Environment(
        loader=PackageLoader("asd.evaluation.report", ""),
        undefined=StrictUndefined,
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"percent": _percent, "megabytes": _megabytes}
    environment.policies["json.dumps_kwargs"] = {"sort_keys": False}  # what comes first is shown first
    folder = files("asd.evaluation.report")
    return environment.get_template("report.html.jinja").render(
        style=Markup((folder / "report.css").read_text()),  # our own file: nothing to escape
        scripts=[Markup((folder / name).read_text()) for name in _SCRIPTS],
        media=media,
        **contents,
    )


def _percent(value: float) -> str:
    return f"{100 * value:.1f}"


def _megabytes(n_bytes: float) -> str:
    return f"{n_bytes / 1e6:.1f} MB"

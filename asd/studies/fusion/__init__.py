"""Several modalities against single ones, and three ways to join them."""

from asd.studies.fusion.study import run as run

"""Build the wheel, install it into an environment of its own and try it there.

python tools/try_wheel.py        # `make wheel`

What the package depends on is large, so the fresh environment borrows the libraries of the one that runs this script;
the package itself is not among them: it is installed there in place, by a path that the other does not read.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import sysconfig
import tempfile
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
_TRIAL = """
import sys, asd
from pathlib import Path
assert Path(asd.__file__).is_relative_to(sys.prefix), asd.__file__
import numpy as np
normal = np.random.default_rng(0).normal(0, 0.1, (12, 16000))
model = asd.fit(normal, sample_rate_hz=16000)
assert model.score(normal[0] + np.sin(np.arange(16000) / 3), 16000).decision
"""


def main() -> None:
    """Prints a line at the end; any failure ends it with that command's error."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        shutil.rmtree(ROOT / "build", ignore_errors=True)  # setuptools would pack what an older build left
        _pip(sys.executable, "wheel", "--no-deps", "--no-build-isolation", "-w", str(place), str(ROOT))
        (wheel,) = place.glob("*.whl")
        venv.create(place / "fresh", with_pip=True)
        python = place / "fresh/bin/python"
        _pip(str(python), "install", "--no-deps", str(wheel))
        libraries = _site(python)
        # Plain folders only: the links to this checkout, *.pth files, are not followed there.
        (libraries / "libraries.pth").write_text(sysconfig.get_path("purelib") + "\n")
        command = place / "fresh/bin/asd"
        for words in (["--help"], ["train", "--help"]):
            _run([str(command), *words], place)
        _run([str(python), "-c", _TRIAL], place)
        _run([str(command), "demo"], place)
        print(f"{wheel.name} is built, installs and works")


def _site(python: Path) -> Path:
    code = "import sysconfig; print(sysconfig.get_path('purelib'))"
    done = subprocess.run([str(python), "-c", code], check=True, capture_output=True, text=True)
    return Path(done.stdout.strip())


def _pip(python: str, *arguments: str) -> None:
    _run([python, "-m", "pip", "--quiet", "--disable-pip-version-check", *arguments], ROOT)


def _run(command: list[str], place: Path) -> None:
    subprocess.run(command, check=True, cwd=place, stdout=subprocess.DEVNULL)


if __name__ == "__main__":
    main()

"""The check on a card names every line that is special to CUDA, and runs dry where there is no card."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.command import tiny_machines

ROOT = Path(__file__).parents[1]
SCRIPT = ROOT / "tools/gpu_check.sh"
SPECIAL = re.compile(
    r"is_cuda|[\"']cuda[\"':]|torch\.cuda|nccl|autocast\(|map_location|GradScaler\(|fused=True|pin_memory|non_blocking"
    r"|GpuResources\(|index_cpu_to_gpu"
)
LISTED = re.compile(r"^#   (asd/\S+\.py) +(\S+) +(train|tests|faiss|bench): ", re.MULTILINE)


def special_lines() -> list[tuple[str, str]]:
    """Every line of the package with a word that only a card gives a meaning; studies stand on the same core."""
    found = []
    for path in sorted((ROOT / "asd").rglob("*.py")):
        name = str(path.relative_to(ROOT))
        if not name.startswith("asd/studies/"):
            lines = path.read_text().splitlines()
            told = docstring_lines(path)
            code = (line.split("#")[0] for number, line in enumerate(lines, 1) if number not in told)
            found += [(name, line) for line in code if SPECIAL.search(line)]
    return found


def docstring_lines(path: Path) -> set[int]:
    texts = [
        node
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    ]
    return {number for node in texts for number in range(node.lineno, (node.end_lineno or 0) + 1)}


def test_every_line_that_is_special_to_cuda_has_a_check() -> None:
    listed = [(name, word) for name, word, _ in LISTED.findall(SCRIPT.read_text())]
    lines = special_lines()
    unlisted = [line for line in lines if not any(line[0] == name and word in line[1] for name, word in listed)]
    idle = [entry for entry in listed if not any(entry[0] == name and entry[1] in line for name, line in lines)]
    assert (unlisted, idle) == ([], [])


def test_the_script_says_how_it_is_called() -> None:
    assert subprocess.run(["bash", "-n", SCRIPT], check=False).returncode == 0
    answer = subprocess.run([SCRIPT], capture_output=True, text=True, check=False)
    assert answer.returncode == 2
    assert answer.stdout.count("tools/gpu_check.sh") == 2


@pytest.mark.slow
def test_the_second_half_runs_dry(tmp_path: Path) -> None:
    data = tiny_machines(tmp_path / "data", "fan")
    words = ["run", tmp_path / "out", "device=cpu", f"python={sys.executable}", f"data={data}"]
    answer = subprocess.run([SCRIPT, *map(str, words)], capture_output=True, text=True, check=False)
    logs = {path.name: path.read_text()[-2000:] for path in (tmp_path / "out").glob("*.log")}
    assert answer.returncode == 0, (answer.stdout, logs)
    page = (tmp_path / "out/gpu.md").read_text()
    assert page.startswith("## On no card (device=cpu)")
    assert page.count("| passed |") == 8
    assert "| official network, plain PyTorch |" in page

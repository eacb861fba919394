"""Jobs on a Ray cluster of two nodes on this computer: a node lost, a dead worker, two drivers, the same results."""

from __future__ import annotations

import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd
import pytest

from asd.core.executors import finished
from asd.core.files import alone
from asd.options import Execution
from asd.types import AsdError
from tests import loudness
from tests.command import asd, start, succeeds, tiny_machines
from tests.machines import tone_machine
from tests.test_executors import results

pytestmark = pytest.mark.slow
ray = pytest.importorskip("ray")
MEMORY = 150 * 2**20  # of a node's object store

NOISY = """
import sys
import noisy
from asd.core.executors import finished
from asd.core.runtime import log
from asd.options import Execution

def warn(i):
    log.warning("fan%02d: 5 clips are copies", i)
    log.info("fan%02d: nothing that the driver asks for", i)

if __name__ == "__main__":
    list(finished(noisy.warn, range(6), Execution(executor="ray", address=sys.argv[1], workers=2)))
"""


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A head without room for jobs, and a node of two cores; stopped at the end."""
    from ray.cluster_utils import Cluster

    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    os.environ["RAY_worker_niceness"] = "0"  # 15 by default  # noqa: SIM112
    cluster = Cluster(
        initialize_head=True, head_node_args={"num_cpus": 0, "object_store_memory": MEMORY, "include_dashboard": False}
    )
    own = {"XDG_CACHE_HOME": str(tmp_path_factory.mktemp("cache"))}
    cluster.add_node(num_cpus=2, object_store_memory=MEMORY, env_vars=own)
    cluster.wait_for_nodes()
    yield cluster
    ray.shutdown()
    cluster.shutdown()


@pytest.fixture
def on_ray(cluster: Any) -> Execution:
    return Execution(executor="ray", address=cluster.address)


def mark(task: tuple[Path, str]) -> int:
    """Leaves a line with its process; what it then does is told by the task."""
    path, what = task
    with path.open("a") as file:
        file.write(f"{os.getpid()}\n")
    if what == "dies":
        os.kill(os.getpid(), signal.SIGKILL)
    if what == "eats":
        eat_memory()
    if what == "dies once" and len(path.read_text().splitlines()) == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    if what == "fails":
        raise AsdError("the bearing is broken; mend it")
    if what == "waits":
        while not path.with_suffix(".go").exists():
            time.sleep(0.1)
    return os.getpid()


def eat_memory() -> None:
    """Takes 300 MiB more than the process may have, as a kernel does that has no more to give."""
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + 2**27, used + 2**27))
    np.ones(2**26)


def until(condition: Callable[[], bool]) -> None:
    """Waits for it, a minute at most."""
    end = time.monotonic() + 60
    while not condition() and time.monotonic() < end:
        time.sleep(0.1)


def times(path: Path) -> int:
    return len(path.read_text().splitlines())


def test_a_worker_that_dies_costs_its_task_and_is_tried_again(on_ray: Execution, tmp_path: Path) -> None:
    tasks = [(tmp_path / what, what) for what in ("works", "fails", "dies once", "dies")]
    works, fails, once, dies = sorted(finished(mark, tasks, on_ray))
    assert works.error is once.error is None
    assert works.result != os.getpid()
    assert str(fails.error) == "the bearing is broken; mend it"
    assert "its process was lost again and again" in str(dies.error)
    assert [times(path) for path, _ in tasks] == [1, 1, 2, 4]


def test_warnings_that_differ_in_a_number_alone_are_all_shown(cluster: Any, tmp_path: Path) -> None:
    """In a process of its own, whose end must not swallow the last of them."""
    script = tmp_path / "noisy.py"
    script.write_text(NOISY)
    done = subprocess.run([sys.executable, script, cluster.address], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "nothing that the driver" not in done.stderr
    shown = re.findall(r"^fan(\d+): 5 clips are copies", done.stderr, re.MULTILINE)
    assert sorted(shown) == [f"{i:02}" for i in range(6)], done.stderr


def test_ray_data_keeps_its_processes_and_names_a_task_that_kills_them(on_ray: Execution, tmp_path: Path) -> None:
    tasks = [(tmp_path / f"{i}", "works") for i in range(6)] + [
        (tmp_path / what, what) for what in ("fails", "dies once", "dies")
    ]
    found = sorted(finished(mark, tasks, on_ray, keeps=True))
    assert [each.task for each in found] == [*range(len(tasks))]
    assert [each.error for each in found[:6]] == [None] * 6
    assert os.getpid() not in {each.result for each in found}
    assert len({each.result for each in found[:6]}) <= 4  # two processes, and those in place of the dead
    fails, once, dies = found[6:]
    assert str(fails.error) == "the bearing is broken; mend it"
    assert once.error is None
    assert "its process was lost again and again" in str(dies.error)
    assert [times(path) for path, _ in tasks[:8]] == [*[1] * 7, 2]
    assert 1 < times(tasks[8][0]) <= 4  # a try that finds no process yet counts


@pytest.mark.parametrize("keeps", [False, True])
def test_a_computer_without_the_package_is_a_sentence(on_ray: Execution, keeps: bool) -> None:
    """The work lies in a module that the driver alone has."""
    module = ModuleType("only_here")
    exec("def work(task): return task", module.__dict__)
    sys.modules["only_here"] = module
    try:
        errors = [each.error for each in finished(module.work, [1], on_ray, keeps=keeps)]
    except AsdError as error:
        errors = [error]
    finally:
        del sys.modules["only_here"]
    assert re.search(r"cannot load it \(No module named 'only_here'\); install the same version of asd", str(errors[0]))


def test_a_task_without_memory_is_named_and_costs_no_other(on_ray: Execution, tmp_path: Path) -> None:
    tasks = [(tmp_path / "0", "works"), (tmp_path / "1", "eats"), (tmp_path / "2", "works")]
    found = sorted(finished(mark, tasks, on_ray))
    assert [each.error is None for each in found] == [True, False, True]
    assert isinstance(found[1].error, MemoryError)


def test_a_worker_that_is_killed_for_its_memory_is_not_begun_for_ever(tmp_path: Path) -> None:
    """Ray kills it, as the share of the memory in use is above what this node may use."""
    from ray.cluster_utils import Cluster

    small = Cluster(
        initialize_head=True, head_node_args={"num_cpus": 0, "object_store_memory": MEMORY, "include_dashboard": False}
    )
    limit = {"RAY_memory_usage_threshold": "0.01", "RAY_memory_monitor_refresh_ms": "50"}
    small.add_node(num_cpus=1, object_store_memory=MEMORY, env_vars=limit)
    small.wait_for_nodes()
    try:
        where = Execution(executor="ray", address=small.address)
        (found,) = finished(mark, [(tmp_path / "task", "waits")], where)
    finally:
        small.shutdown()
    assert re.search(r"lost again and again \(OutOfMemoryError\), as when memory runs out", str(found.error))


def test_a_lost_node_costs_the_task_under_way(cluster: Any, on_ray: Execution, tmp_path: Path) -> None:
    """Of two nodes of one core each, the one is killed while it works."""
    tasks = [(tmp_path / f"{i}", "waits" if i < 3 else "works") for i in range(6)]
    second = cluster.add_node(num_cpus=1, object_store_memory=MEMORY)
    cluster.wait_for_nodes()
    found = finished(mark, tasks, on_ray)

    def lose() -> None:
        until(lambda: all(path.exists() for path, _ in tasks[:3]))
        cluster.remove_node(second, allow_graceful=False)
        until(lambda: sum(node["Alive"] for node in ray.nodes()) == 2)
        for path, _ in tasks[:3]:
            path.with_suffix(".go").touch()

    helper = threading.Thread(target=lose)
    helper.start()
    everything = list(found)
    helper.join()
    assert [each.error for each in everything] == [None] * 6
    assert sorted(times(path) for path, _ in tasks) == [1, 1, 1, 1, 1, 2]


def test_results_are_the_local_ones_and_two_drivers_share_a_run(
    cluster: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    tiny_machines(Path("data"), "fan", "pump", "valve")
    words = ("train", "data=data", "device=cpu")
    remote = (*words, "name=remote", "executor=ray", f"address={cluster.address}", "workers=2")
    succeeds(*words, "name=here")
    drivers = [start(*remote), start(*remote)]
    said = [driver.communicate() for driver in drivers]
    assert [driver.returncode for driver in drivers] == [0, 0], said
    assert results("remote") == results("here")
    log = "".join(err for _, err in said)
    assert "is done already" in log  # whoever came second waited and found it done
    predict = ("predict", "audio=data/fan/test", "machine=fan", "device=cpu", "name=here")
    succeeds(*predict, "out=p/here")
    succeeds(*predict, "out=p/remote", "executor=ray", f"address={cluster.address}")
    assert Path("p/here/predictions.csv").read_bytes() == Path("p/remote/predictions.csv").read_bytes()
    shutil.rmtree("runs/remote/pump")
    clip = next(Path("data/pump/train").glob("*.wav"))
    clip.write_bytes(clip.read_bytes()[:100])
    answer = asd(*remote)
    assert answer.code == 2
    assert answer.err.strip().splitlines()[-1].startswith("error: 1 failed: pump (")
    assert answer.err.strip().endswith("done: fan, valve")


def test_comparisons_are_the_local_ones(cluster: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for machine in ("fan", "pump"):
        tone_machine(Path("data"), machine, n_train=16, n_target=4, n_test=4)
    Path("methods.yaml").write_text("one: statistics.backend=knn_relative\ntwo: statistics.backend=knn\n")
    Path("space.yaml").write_text("statistics.backend: [knn_relative, knn]\n")
    for where in (["executor=here"], ["executor=ray", f"address={cluster.address}"]):
        runs = f"runs={where[0]}"
        succeeds("benchmark", "data=data", "methods=methods.yaml", "seeds=0", runs, *where)
        succeeds("sweep", "data=data", "space=space.yaml", "device=cpu", runs, *where)
    for path in ("benchmark.csv", "sweep/sweep.csv"):
        here, remote = (pd.read_csv(f"executor={name}/{path}").drop(columns="seconds") for name in ("here", "ray"))
        key = list(here.columns)
        pd.testing.assert_frame_equal(*(t.sort_values(key, ignore_index=True) for t in (here, remote)))


def test_a_search_on_the_cluster_is_the_local_one_with_two_drivers_and_after_a_kill(
    cluster: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One trial after another, so that each is chosen by the same results; some of them end early."""
    monkeypatch.chdir(tmp_path)
    for machine in ("fan", "pump"):
        tone_machine(Path("data"), machine, n_train=16, n_target=4, n_test=4)
    shutil.copy(loudness.__file__, "levels.py")  # the other computers look where the command is run
    Path("space.yaml").write_text("detector: levels:Loudness\nloudness.floor_db: {low: -120.0, high: 0.0}\n")
    words = ("sweep", "data=data", "space=space.yaml", "judge=labels", "method=optuna", "trials=8", "device=cpu")
    remote = (*words, "executor=ray", f"address={cluster.address}", "workers=1")
    succeeds(*words, "executor=here", "runs=here")
    here = table_of("here")
    assert {*here["state"]} == {"complete", "ended early"}

    drivers = [start(*remote, "runs=shared"), start(*remote, "runs=shared")]
    said = [driver.communicate() for driver in drivers]
    assert [driver.returncode for driver in drivers] == [0, 0], said
    assert said[0][0] == said[1][0]
    pd.testing.assert_frame_equal(table_of("shared"), here)

    done = Path("stopped/sweep/results")
    with alone(done / "5"):  # the driver waits for the sixth trial when it is killed
        driver = start(*remote, "runs=stopped")
        until(lambda: len([*done.glob("*.json")]) == 5)
        driver.kill()
        driver.communicate()
    times = {path: path.stat().st_mtime_ns for path in done.glob("*.json")}
    assert len(times) == 5
    succeeds(*remote, "runs=stopped")
    assert {path: path.stat().st_mtime_ns for path in times} == times
    pd.testing.assert_frame_equal(table_of("stopped"), here)

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))  # the node has another
    bucket = Path("bucket").absolute().as_uri()
    succeeds(*remote[:-1], "workers=2", f"runs={bucket}")  # a trial is chosen by what is there when it begins
    assert len({*table_of("bucket")["loudness.floor_db"]}) == 8


def table_of(runs: str) -> pd.DataFrame:
    """What a sweep found, without the time it took."""
    return pd.read_csv(Path(runs, "sweep/sweep.csv")).drop(columns="seconds")


def test_computers_that_share_no_folder_work_at_an_address(
    cluster: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    tiny_machines(Path("bucket/plant"), "fan")
    bucket = Path("bucket").absolute().as_uri()
    words = (f"data={bucket}/plant", f"runs={bucket}/runs", "executor=ray", f"address={cluster.address}")
    succeeds("train", *words, "device=cpu")
    succeeds("train", "data=bucket/plant", "device=cpu")
    tables = [*Path("runs").rglob("scores/*.csv")]
    assert tables
    for table in tables:
        assert table.read_bytes() == ("bucket" / table).read_bytes()
    assert not [*Path("cache").rglob("model")]  # it was learnt elsewhere


def test_a_cluster_that_is_not_there_is_a_sentence(tmp_path: Path) -> None:
    where = Execution(executor="ray", address="127.0.0.1:1")
    with pytest.raises(AsdError, match=r"no Ray cluster .* address=127\.0\.0\.1:1"):
        list(finished(mark, [(tmp_path / "x", "works")], where))

"""A network that fails in the ways in which networks fail: unknown is never gone, and when it is
well again all is as it should be within seconds.

The times are in target/interop/network.txt; `-s` shows them.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from configs import PYTHON, quick
from hostile_world import OK_HEADERS, HostileWorld, Stream, blob, entity, grpc_message, listing
from log import Ev
from network import ELSEWHERE, NAME, PLAINTEXT, WORLD, Network, Weather
from paths import BUILD, PROJECT
from processes import eventually, stat_fields
from runner import Runner

ACTORS = ("alice", "bob", "carol")
# What is waited for a bound; it is far more than it takes.
SOON = 30.0
# A silent connection is asked for a sign of life after 5 s, and given up 6 s later, and so is one
# on which a word is not acknowledged; then a call has a second. Only a server that hangs takes as long as HTTP/2's own keepalive, 20 and 10 s.
PROBED_SECONDS = 25.0
RESET_SECONDS = 15.0


@dataclass
class Scene:
    """A runner with agents, and a network between it and its world."""

    network: Network
    world: HostileWorld
    runner: Runner
    born: dict[str, tuple[int, str]] = field(default_factory=dict)

    def untouched(self, since: int) -> None:
        mine = [line for line in self.runner.touched(since) if any(it in line for it in ACTORS)]
        assert mine == []
        assert self.born == {name: birth(pid) for name, (pid, _) in self.born.items()}

    def arrive(self, name: str) -> None:
        self.world.entities.append(entity(name))
        with self.world.lock:
            self.world.lock.notify_all()

    def started(self, name: str, since: int, timeout: float = SOON) -> float:
        return self.runner.log.wait_for(Ev.STARTED, entity=name, since=since, timeout=timeout).at

    def forget(self) -> None:
        """The world's side of all connections is gone, and nobody is told."""
        for connection in self.world.forget():
            connection.vanish()


def birth(pid: int) -> tuple[int, str]:
    return pid, stat_fields(Path("/proc") / str(pid))[22 - 3]


def watch(stream: Stream) -> None:
    """Tells of changes, by a whole list each time."""
    world = stream.connection.world
    stream.headers(OK_HEADERS)
    said = b""
    while not stream.over:
        now = listing(world.entities)
        if now != said:
            said = now
            stream.data(grpc_message(blob(1, now)))
        with world.lock:
            world.lock.wait(0.2)


@contextmanager
def playing(
    directory: Path, *, server: str = WORLD, watched: bool = False, interval_ms: int = 300
) -> Iterator[Scene]:
    with Network() as network:
        world = HostileWorld(
            [entity(name) for name in ACTORS],
            listener=network.listen(WORLD),
            on_watch=watch if watched else None,
        )
        program = str(PROJECT / "agents" / "plain_agent.py")
        command = [PYTHON[0], program, "--server={server}", "--entity={entity_id}"]
        config = quick(
            runner={"server": f"{server}:50051", **PLAINTEXT},
            jit={"watch_interval_ms": interval_ms},
            agents={"default": {"command": command}},
        )
        with world, Runner(directory, None, config, within=network.within()) as runner:
            pids = runner.wait_started(*ACTORS)
            born = {name: birth(pid) for name, pid in pids.items()}
            if watched:
                runner.log.wait_until(
                    lambda line: "tells of changes" in line.text, "a watch", timeout=SOON
                )
            yield Scene(network, world, runner, born)


@pytest.fixture(scope="module")
def figures() -> Iterator[list[str]]:
    figures: list[str] = []
    yield figures
    columns = ("noticed s", "newcomer s", "healed s")
    head = f"{'fault':44}" + "".join(f"{column:>12}" for column in columns)
    text = "\n".join([head, *figures]) + "\n"
    (BUILD / "network.txt").write_text(text)
    print(f"\n{text}")


def row(what: str, *times: float | None) -> str:
    return f"{what:44}" + "".join(f"{'-' if it is None else f'{it:.2f}':>12}" for it in times)


BAD = {
    "a tenth is lost": Weather(loss=0.1),
    "three in ten are lost": Weather(loss=0.3),
    "200 ms late, overtaking": Weather(delay=0.2, jitter=0.1),
    "late, twice, and a tenth lost": Weather(0.1, 0.1, 0.1, 0.05),
}


@pytest.mark.parametrize("what", BAD)
@pytest.mark.parametrize("watched", [False, True], ids=["polled", "watched"])
def test_in_bad_weather_newcomers_start_and_nobody_ends(
    tmp_path: Path, figures: list[str], what: str, watched: bool
) -> None:
    with playing(tmp_path, watched=watched) as scene:
        mark = scene.runner.mark()
        scene.network.weather = BAD[what]
        late = 0.0
        for name in ("late1", "late2", "late3", "late4"):
            arrived = time.monotonic()
            scene.arrive(name)
            late = max(late, scene.started(name, mark, 120) - arrived)
        mark_well, well = scene.runner.mark(), time.monotonic()
        scene.network.weather = Weather()
        scene.arrive("later")
        later = scene.started("later", mark_well) - well
        scene.untouched(mark)
        assert scene.network.lost > 0 or not BAD[what].loss
        how = "watched" if watched else "polled"
        figures.append(row(f"{what}, {how}", None, late, later))


@pytest.mark.parametrize("forgets", [False, True], ids=["remembers", "forgets"])
@pytest.mark.parametrize("in_call", [False, True], ids=["between calls", "in a call"])
def test_a_polled_peer_that_is_dead_without_a_word(
    tmp_path: Path, figures: list[str], in_call: bool, forgets: bool
) -> None:
    with playing(tmp_path) as scene:
        mark = scene.runner.mark()
        if in_call:
            scene.world.attack(on_list=lambda stream: stream.wait_until_over())
            scene.world.wait_met(1, SOON)
        began = time.monotonic()
        scene.network.weather = Weather(dead=(WORLD,))
        noticed = scene.runner.wait_for(Ev.WORLD_LOST, since=mark).at - began
        if forgets:
            scene.forget()
        scene.world.be_honest()
        # So long that more than one attempt to connect was lost as well.
        lost = scene.network.lost
        eventually(lambda: scene.network.lost > lost + 5, "it goes on trying", SOON)
        scene.untouched(mark)
        scene.arrive("late")
        well, scene.network.weather = time.monotonic(), Weather()
        healed = scene.started("late", mark) - well
        scene.untouched(mark)
        where = "in a call" if in_call else "between calls"
        what = "half-open" if forgets else "dead"
        figures.append(row(f"{what}, polled, {where}", noticed, None, healed))


def test_a_watched_peer_that_is_dead_without_a_word(tmp_path: Path, figures: list[str]) -> None:
    """Each takes as long as the keepalive, so all at one time, in networks of their own."""
    tests = (
        watched_peer_dead,
        watched_peer_dead_in_a_word,
        watched_peer_half_open,
        watched_peer_that_resets,
    )
    with ThreadPoolExecutor() as pool:
        running = []
        for test in tests:
            directory = tmp_path / test.__name__
            directory.mkdir()
            running.append(pool.submit(test, directory))
        figures += [test.result() for test in running]


def watched_peer_dead(directory: Path) -> str:
    with playing(directory, watched=True) as scene:
        return row("dead, watched", *gone_quiet(scene, time.monotonic()))


def watched_peer_dead_in_a_word(directory: Path) -> str:
    """What it was told last it never acknowledged: the kernel then asks for no sign of life."""
    with playing(directory, watched=True) as scene:
        began, lost = time.monotonic(), scene.network.lost
        scene.network.weather = Weather(deaf=(WORLD,))
        scene.world.ping()
        eventually(lambda: scene.network.lost > lost, "the answer to the ping is lost")
        return row("dead in a word, watched", *gone_quiet(scene, began))


def watched_peer_half_open(directory: Path) -> str:
    with playing(directory, watched=True) as scene:
        began = time.monotonic()
        scene.network.weather = Weather(dead=(WORLD,))
        scene.forget()
        return row("half-open, watched", *gone_quiet(scene, began))


def gone_quiet(scene: Scene, began: float) -> tuple[float, None, float]:
    mark = scene.runner.mark()
    scene.network.weather = Weather(dead=(WORLD,))
    lost = scene.runner.log.wait_for(Ev.WORLD_LOST, since=mark, timeout=PROBED_SECONDS)
    noticed = lost.at - began
    scene.untouched(mark)
    scene.arrive("late")
    well, scene.network.weather = time.monotonic(), Weather()
    healed = scene.started("late", mark) - well
    scene.untouched(mark)
    return noticed, None, healed


def watched_peer_that_resets(directory: Path) -> str:
    """It died unseen and is there again: what it hears of the old connection it resets. It hears
    of it when it is asked for a sign of life."""
    with playing(directory, watched=True) as scene:
        mark = scene.runner.mark()
        scene.network.weather = Weather(dead=(WORLD,))
        lost = scene.network.lost
        scene.forget()
        eventually(lambda: scene.network.lost > lost, "its last word is lost")
        scene.arrive("late")
        well, scene.network.weather = time.monotonic(), Weather()
        healed = scene.started("late", mark, RESET_SECONDS) - well
        scene.untouched(mark)
        return row("half-open and there again, watched", None, None, healed)


@pytest.mark.parametrize("old", ["is dead", "is closed"])
def test_a_world_that_moved_is_found_by_its_name(
    tmp_path: Path, figures: list[str], old: str
) -> None:
    with playing(tmp_path, server=NAME) as scene:
        mark, began = scene.runner.mark(), time.monotonic()
        moved = HostileWorld(list(scene.world.entities), listener=scene.network.listen(ELSEWHERE))
        moved.entities.append(entity("late"))
        with moved:
            if old == "is dead":
                scene.network.weather = Weather(dead=(WORLD,))
            else:
                scene.world.shut()
            noticed = scene.runner.wait_for(Ev.WORLD_LOST, since=mark).at - began
            scene.untouched(mark)
            named = time.monotonic()
            scene.network.name(ELSEWHERE)
            healed = scene.started("late", mark) - named
            scene.untouched(mark)
        figures.append(row(f"moved, the old one {old}", noticed, None, healed))

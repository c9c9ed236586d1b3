"""This runner under the supervisor benchmark: see `run` beside this file."""
import json
import os
import signal
import socket
import subprocess
import time

from .base import Adapter, all_pids, read


def kind(sid, argv):
    """What services have in common that differ by their names only."""
    return tuple("{entity_id}" if word == sid else word for word in argv)


class Runner(Adapter):
    """Services that differ by their names only are entities of one type, with one template.

    The world is a process beside it, as a user's is: it outlives the runner in W7, and is not
    counted, as it carries no mark.
    """
    name = "runner"
    min_delay = "`initial_backoff_ms = 0`"
    by_hangup = False
    one_template = True
    containment = "auto"

    def bin(self):
        return os.environ["RUNNER_BIN"]

    def available(self):
        return os.access(self.bin(), os.X_OK)

    def version(self):
        with os.popen(f"{self.bin()} --version") as told:
            return told.read().split()[-1]

    def prepare(self, services, best_tree=False):
        kinds = {kind(sid, argv) for sid, argv in services.items()}
        alike = len(services) > 1 and len(kinds) == 1
        self.kind = kinds.pop() if self.one_template and alike else None
        self.services = {} if self.kind else dict(services)
        # The entity that W6 adds is there from the start: a template is all it lacks.
        self.world = self.serve([*((sid, "service") for sid in services), ("new", "newcomer")])
        self.write()

    def serve(self, entities):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.server = "127.0.0.1:%d" % free.getsockname()[1]
        lines = ["[world]", "width = 1000", "height = 1000"]
        for n, (sid, its_type) in enumerate(entities):
            lines += ["[[entities]]", f'id = "{sid}"', f'type = "{its_type}"']
            lines += [f"x = {n % 1000}", f"y = {n // 1000}"]
        path = f"{self.work}/world.toml"
        with open(path, "w") as f:
            f.write("\n".join(lines) + "\n")
        argv = [self.bin(), "world", "--config", path, "--listen", self.server]
        nowhere = subprocess.DEVNULL
        world = subprocess.Popen(argv, stdin=nowhere, stdout=nowhere, stderr=nowhere)
        host, port = self.server.split(":")
        while world.poll() is None:
            try:
                socket.create_connection((host, int(port))).close()
                break
            except ConnectionRefusedError:
                time.sleep(0.01)
        return world

    def cleanup(self):
        super().cleanup()
        self.world.kill()
        self.world.wait()

    def write(self):
        lines = [
            "[runner]",
            f'server = "{self.server}"',
            f"auto_discover = {json.dumps(self.kind is not None)}",
            'log_dir = "logs"',
            'state_dir = "state"',
            f'containment = "{self.containment}"',
            "initial_backoff_ms = 0",
            "max_restart_attempts = 1000000",
            "shutdown_grace_ms = 2000",
            "max_agents = 100000",
        ]
        if self.kind:
            lines += ["[agents.services]", 'match = { types = ["service"] }']
            lines += [f"command = {json.dumps(self.kind)}"]
        for sid, argv in self.services.items():
            lines += [f"[agents.{sid}]", f"command = {json.dumps(argv)}"]
        path = f"{self.work}/runner.toml"
        with open(f"{path}.next", "w") as f:
            f.write("\n".join(lines) + "\n")
        os.rename(f"{path}.next", path)

    def sup_pids(self):
        """With the server of gates, whose environment is empty as its gates' has to be."""
        pids = super().sup_pids()
        root = self.root_pid()
        for pid in all_pids():
            stat = read(f"/proc/{pid}/stat")
            child = stat[stat.rfind(b")") + 2:].split()[1:2] == [str(root).encode()]
            if child and read(f"/proc/{pid}/cmdline").split(b"\0")[1:2] == [b"gate"]:
                pids.append(pid)
        return pids

    def argv(self):
        return [self.bin(), "reconcile", "--config", f"{self.work}/runner.toml"]

    def add(self, sid, argv):
        self.services[sid] = argv
        self.write()
        if self.by_hangup:
            os.kill(self.root_pid(), signal.SIGHUP)

    def stop_one(self, sid):
        del self.services[sid]
        self.write()


class RunnerTold(Runner):
    """The same, with SIGHUP after an edit, in place of the file watch alone."""
    name = "runner-sighup"
    by_hangup = True


class RunnerByTemplates(Runner):
    """The same with a template for each service."""
    name = "runner-templates"
    one_template = False


class RunnerToldByTemplates(RunnerTold):
    """The same with a template for each service."""
    name = "runner-templates-sighup"
    one_template = False


class RunnerByGroup(Runner):
    """The same without cgroups."""
    name = "runner-process-group"
    containment = "process-group"

"""Runs experiments in forked processes that can be killed at any moment.

A line of JSON on standard input starts one: {"config": ..., "die_at": n, ...}. Answers its
process id, and when it has ended {"code", "events", "text"}.
"""

import json
import os
import resource
import signal
import sys
import tempfile
import traceback
from importlib import import_module
from pathlib import Path

from pml_incremental.cli import main as main_of_command
from pml_incremental.config import ExperimentConfig, dump_yaml
from pml_incremental.experiment import run
from pml_incremental.experiment.running import outputs, task_loop
from pml_incremental.experiment.running.task_checkpoint import RunInterrupted
from pml_incremental.storage import tensor_file
from pml_incremental.trainers import ResumableMixin


class Events:
    """Counts what happens in a run, and ends the process at one of these moments."""

    def __init__(self, die_at, die_when_there):
        self.count = 0
        self.die_at = die_at
        self.die_when_there = [Path(name) for name in die_when_there]

    def happen(self, path=None):
        self.count += 1
        if self.die_when_there and all(path.exists() for path in self.die_when_there):
            os.kill(os.getpid(), signal.SIGKILL)
        if self.count == self.die_at:
            if path is not None:  # killed in the middle of writing
                os.truncate(path, path.stat().st_size // 2)
            os.kill(os.getpid(), signal.SIGKILL)

    def watch(self):
        """Let iterations, writing, syncing and moving files be events."""
        self._watch(os, "fsync")
        self._watch(os, "replace")
        self._watch(ResumableMixin, "train_iteration")
        save = tensor_file.save_file

        def save_file(tensors, path, metadata):
            save(tensors, path, metadata=metadata)
            self.happen(path)

        tensor_file.save_file = save_file

    def _watch(self, owner, name):
        call = getattr(owner, name)

        def watched(*args, **kwargs):
            self.happen()
            return call(*args, **kwargs)

        setattr(owner, name, watched)


def serve(request):
    """Run a config in this process; gives the exit code and the number of events."""
    events = Events(request.get("die_at"), request.get("die_when_there", []))
    events.watch()
    # Pictures take longer than everything else and are no state.
    outputs.draw_matrices = lambda *args: {}
    outputs._draw_over_time = task_loop.draw_retrievals = lambda *args: None
    if "largest_file" in request:
        resource.setrlimit(resource.RLIMIT_FSIZE, (request["largest_file"],) * 2)
    if request.get("by_command"):
        file = Path(request["config"]["output"]) / "config.yaml"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(dump_yaml(request["config"]))
        return main_of_command(["run", "--quiet", str(file)]), events.count
    try:
        run(ExperimentConfig.model_validate(request["config"]), progress=False)
    except RunInterrupted as stop:
        print(stop, file=sys.stderr)
        return stop.exit_code, events.count
    except (ValueError, OSError, RuntimeError) as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 1, events.count
    return 0, events.count


def main():
    for module in ("torch._inductor", "torchvision"):  # each run would, in more than its own time
        import_module(module)
    for line in sys.stdin:
        with tempfile.TemporaryFile("w+") as text, tempfile.TemporaryFile("w+") as counted:
            child = os.fork()
            if child == 0:
                os.dup2(text.fileno(), 2)
                os.dup2(text.fileno(), 1)
                code = 99
                try:
                    code, events = serve(json.loads(line))
                    counted.write(str(events))
                    counted.flush()
                finally:  # this process must not go on with the server's loop
                    if code == 99:
                        traceback.print_exc()
                    sys.stderr.flush()
                    os._exit(code)
            print(child, flush=True)
            code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
            counted.seek(0)
            text.seek(0)
            answer = {"code": code, "events": int(counted.read() or 0), "text": text.read()}
            print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()

"""Commands of tamis as processes of their own that need not load it first: forked by one that has, and started nothing.

    python tests/warm.py MODULE...      loads these, then serves on stdin and stdout

A request is a line of JSON: words of the command, folder, environment, file for what it says. The answers are two lines:
the process, and its exit code when it ended (below 0: the signal). So a kill meets a command at work."""

import importlib
import json
import os
import select
import signal
import subprocess
import sys
from pathlib import Path

MODULES = (
    "tamis.pipeline.cli.app", "tamis.pipeline.starting", "tamis.pipeline.curate", "tamis.pipeline.doors", "tamis.pipeline.store.whereabouts",
    "tamis.pipeline.emit.outputs", "tamis.pipeline.explain.report.page", "tamis.selectors.catalog",
)  # fmt: skip


class Warm:
    """The asking side: one command at a time."""

    def __init__(self, modules: tuple[str, ...], env: dict[str, str]) -> None:
        command = [sys.executable, __file__, *MODULES, *modules]
        self._process = subprocess.Popen(command, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0)

    def run(self, words: list[str], folder: Path, env: dict[str, str], said: Path, after_s: float | None) -> int:
        """Its exit code; -9 where it and all that it started were killed after so many seconds."""
        assert self._process.stdin and self._process.stdout
        request = {"words": words, "folder": str(folder), "env": env, "said": str(said)}
        self._process.stdin.write(json.dumps(request).encode() + b"\n")
        process = int(self._process.stdout.readline())
        if not select.select([self._process.stdout], [], [], after_s)[0]:
            os.killpg(process, signal.SIGKILL)
        return int(self._process.stdout.readline())

    def close(self) -> None:
        self._process.communicate()


def serve() -> None:
    """Returns in each child, which is to carry its command out; in the parent when there are no more."""
    answers = os.fdopen(os.dup(1), "wb", buffering=0)
    while line := sys.stdin.buffer.raw.readline():  # type: ignore[attr-defined]
        asked = json.loads(line)
        reads, writes = os.pipe()
        process = os.fork()
        if process == 0:
            os.setsid()
            os.close(reads)
            os.close(writes)  # it leads a group of its own from here on
            answers.close()
            os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
            said = os.open(asked["said"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
            os.dup2(said, 1)
            os.dup2(said, 2)
            os.chdir(asked["folder"])
            os.environ.update(asked["env"])
            sys.argv = ["tamis", *asked["words"]]
            return
        os.close(writes)
        os.read(reads, 1)
        os.close(reads)
        answers.write(b"%d\n" % process)
        answers.write(b"%d\n" % os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]))
    os._exit(0)


if __name__ == "__main__":
    for module in sys.argv[1:]:
        importlib.import_module(module)
    from tamis.pipeline.cli.app import main
    from tamis.selectors.texts.ngrams import Ngrams, load_loops

    load_loops(Ngrams())
    serve()

    main()

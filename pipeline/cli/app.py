"""The command line: each verb a thin face on one library call.

Results go to stdout, progress to stderr. Exit codes: 0 done, 1 a failed run, damage or a bug, 2 bad input,
130 stopped by Ctrl-C."""

import os
import sys

from tamis.pipeline import machine
from tamis.pipeline.cli.choose import init, pick, plan, run
from tamis.pipeline.cli.families import CHOOSE, LOOK, OPERATE, PUBLISH, STORE, family, join
from tamis.pipeline.cli.label import label
from tamis.pipeline.cli.look import compare, explain, probe, report, runs, sql, tune, view, why
from tamis.pipeline.cli.operate import check_selector, columns, demo, doctor, recipe_schema, selectors, serve
from tamis.pipeline.cli.publish import approve, diff, hold, path
from tamis.pipeline.cli.store import compact, forget, gc, verify, where
from tamis.pipeline.errors import TamisError, said
from tamis.pipeline.progress import show

app = family(
    name="tamis",
    help="Decide what models are trained on: curated subsets with a reason on record for every sample.",
    version_flags=["--version"],
    help_epilogue="`tamis VERB --help` has each verb's settings and examples. No data yet? `tamis demo` shows it.",
)
join(app, CHOOSE, pick, init, plan, run)
join(app, LOOK, report, view, why, sql, runs, explain, compare, tune, probe)
join(app, PUBLISH, path, diff, approve, hold)
app.command(label)
join(app, STORE, where, forget, verify, gc, compact)
join(app, OPERATE, serve, doctor, demo, selectors, columns, check_selector, recipe_schema)
app.register_install_completion_command(help="Let Tab complete verbs and settings in this shell.")


def main() -> None:
    """Entry point: one clear line for bad input, a traceback for bugs alone."""
    try:
        machine.settle()
        app()
    except TamisError as error:
        show(f"tamis: {error}", sys.stderr)
        sys.exit(error.exit_code)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except Exception as error:
        told = said(error, _place())
        if not isinstance(told, TamisError):
            raise
        show(f"tamis: {told}", sys.stderr)
        sys.exit(told.exit_code)
    except KeyboardInterrupt:
        show("\ntamis: stopped. The same command goes on behind the last whole shard, to the same result.", sys.stderr)
        sys.exit(130)


def _place() -> str:
    """What the command was about, for a line that says what could not be done with it."""
    given = sys.argv[sys.argv.index("--store") + 1 :] if "--store" in sys.argv else sys.argv[2:]
    return next((word for word in given if not word.startswith("-")), "it")


if __name__ == "__main__":
    main()

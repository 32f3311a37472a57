"""`tamis label`: tasks out to labeling tools, answers back in. Heavy imports wait inside the verbs."""

from pathlib import Path
from typing import Literal

from tamis.pipeline.cli.families import LABEL, Flag, Out, family, join
from tamis.pipeline.progress import show


def label_export(
    run: Path,
    *,
    to: Literal["label-studio", "cvat", "csv", "coco"],
    out: Out | None = None,
    classes: Path | None = None,
    root: str | None = None,
    url: str | None = None,
    allow_code: Flag = False,
) -> None:
    """Write the selection of a run as tasks for a labeling tool.

    Parameters
    ----------
    run
        the run's folder, STORE/runs/NAME
    to
        the tool; csv has key and an empty label to fill in
    out
        a new file or folder (default: in the run's exports)
    classes
        what may be answered, one a line (default: the recipe's label_classes, else those of the labels so far)
    root
        of Label Studio: the folder that addresses begin at, LOCAL_FILES_DOCUMENT_ROOT (default: /)
    url
        of Label Studio: what stands before an image's path below root (default: /data/local-files/?d=)
    allow_code
        let the run's recipe run the Python code that it names

    Examples
    --------
    tamis label export my-store/runs/recipe --to label-studio -o tasks
    tamis label export my-store/runs/recipe --to csv -o ask.csv
    """
    from tamis.pipeline.columns.detect.file import read_class_names
    from tamis.pipeline.emit.tasks import export_tasks
    from tamis.pipeline.store.runs import open_complete

    named = None if classes is None else [name for name in read_class_names(classes) if name]
    show(export_tasks(open_complete(run, allow_code), to, out, named, root=root, url=url))


def label_import(
    store: Path,
    file: Path,
    *,
    classes: Path | None = None,
    control: str | None = None,
    held_out: Flag = False,
    replace: Flag = False,
) -> None:
    """Add the answers of a labeling tool's export to a store, as one round.

    Parameters
    ----------
    store
        the store whose samples were labeled
    file
        .csv or .tsv (key, label, and annotator, labeled_at, cost if there are), .json, .csv or .zip of Label Studio,
        .json of COCO, .xml of CVAT, a folder or .zip of YOLO's or VOC's files
    control
        of Label Studio's several controls the one whose choices are the labels
    classes
        the only classes that may be, one a line; others are listed and left out
    held_out
        these labels only measure: nothing learns from them (a round of `active: {acquire: random}` suits)
    replace
        these answers settle earlier ones (a round of `label_errors`); else a contradiction is left out

    Examples
    --------
    tamis label import my-store answers.csv
    tamis label import my-store project.json --classes classes.txt
    """
    from tamis.pipeline.columns.detect.file import read_class_names
    from tamis.pipeline.errors import RecipeError
    from tamis.pipeline.files.remote import working_copy
    from tamis.pipeline.labels.files import read_answers
    from tamis.pipeline.labels.rounds import import_answers
    from tamis.pipeline.progress import say, visible

    named = None if classes is None else [name for name in read_class_names(classes) if name]
    answers = read_answers(file, control)
    with working_copy(store) as here:
        found = import_answers(here, answers, file.name, named, say, held_out=held_out, replace=replace)
    show("\n".join(map(visible, found.lines())))
    if found.empty:
        why = ", as said above" if len(found.lines()) > 1 else ": it has none"
        raise RecipeError(f"labels {file}: not one answer of it was taken in{why}")


def label_status(store: Path, *, column: str | None = None) -> None:
    """Show a store's rounds of labels: what was asked and answered, at which cost, of which classes, and how accurate a
    head is that learns from them.

    Parameters
    ----------
    store
        the store
    column
        the vectors that the head learns on (default: those of the last run that asked)

    Examples
    --------
    tamis label status my-store
    """
    from tamis.pipeline.files.remote import readable
    from tamis.pipeline.labels.status import status

    show(status(readable(store).absolute(), column))


label = family(
    name="label",
    group=LABEL,
    help="Tasks out to labeling tools, answers back in, round after round.",
    help_epilogue="`tamis label VERB --help` has each one's settings and examples.",
)
join(label, None, label_export, name="export")
join(label, None, label_import, name="import")
join(label, None, label_status, name="status")

"""Runs a notebook in the training environment: ``python notebook.py JOB OUT``.

JOB is a JSON file with the notebook's path and its options. The notebook is in Jupytext's percent format. Its options are
assigned in a new cell after the one tagged ``parameters``, or before the first cell; so is ``out``, the folder in which it
writes ``data.parquet`` and ``manifest.json`` with ``rows`` and ``dropped``.

https://jupytext.readthedocs.io/en/latest/formats-scripts.html#the-percent-format
https://papermill.readthedocs.io/en/latest/usage-parameterize.html
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

COLOURS = re.compile(r"\033\[[0-9;]*m")


def main(job: str, out: str) -> int:
    """Run it in the current folder; exit code 1, with the cell and the reason, if a cell raises an exception."""
    import jupytext
    from nbclient import NotebookClient
    from nbclient.exceptions import CellExecutionError, DeadKernelError

    given = json.loads(Path(job).read_text(encoding="utf-8"))
    notebook: Any = jupytext.read(given["notebook"])
    tagged = [i for i, cell in enumerate(notebook.cells) if "parameters" in cell.metadata.get("tags", [])]
    values = {**given["options"], "out": out}
    lines = [f"{name.replace('-', '_')} = {value!r}" for name, value in values.items()]
    assigned: Any = jupytext.reads("# %%\n" + "\n".join(lines), fmt="py:percent")
    notebook.cells.insert(tagged[0] + 1 if tagged else 0, assigned.cells[0])
    client = NotebookClient(
        notebook,
        timeout=None,
        kernel_name="python3",
        extra_arguments=["--log-level=ERROR"],
        on_cell_executed=_show,
        resources={"metadata": {"path": "."}},
    )
    try:
        client.execute()
    except CellExecutionError as error:
        code = next((c for c in notebook.cells if any(o.output_type == "error" for o in c.get("outputs", []))), None)
        first = code.source.strip().splitlines()[0] if code else ""
        print(
            f"✗ {given['notebook']}: {error.ename}: {COLOURS.sub('', error.evalue)} (in the cell that begins with {first!r})"
        )
        return 1
    except DeadKernelError:
        print(f"✗ {given['notebook']}: its Python ended, which too little memory can cause")
        return 1
    return 0


def _show(*, cell: Any, **_: Any) -> None:
    """Print what a cell printed."""
    for output in cell.get("outputs", []):
        if output.output_type == "stream":
            print(output.text, end="", flush=True)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))

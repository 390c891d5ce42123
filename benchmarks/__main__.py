"""Measurements by name: python -m benchmarks NAME [ARGS ...], `all` or `quick`; without a name, what there is."""

from __future__ import annotations

import argparse
import ast
import runpy
import sys
from pathlib import Path

from benchmarks._suite import run_all

HERE = Path(__file__).parent


def main(arguments: list[str]) -> int:
    """Run one measurement, or list them all; 2 where the name is unknown."""
    known = {path.stem: path for path in sorted(HERE.glob("*.py")) if not path.stem.startswith("_")}
    if arguments[:1] in (["all"], ["quick"]):
        asked = argparse.ArgumentParser(prog=f"benchmarks {arguments[0]}")
        asked.add_argument("only", nargs="*", help="names of measurements; none: all")
        asked.add_argument("--data", type=Path, help="a table and hierarchies in ARX's format, for `compare`")
        asked.add_argument(
            "--folder", type=Path, help="where data is made and wiped; what `--step make` left is taken"
        )
        asked.add_argument("--once", action="store_true", help="one turn of each where it would take several")
        told = asked.parse_args(arguments[1:])
        quick = arguments[0] == "quick"
        return run_all(quick=quick, only=told.only, data=told.data, once=told.once, folder=told.folder)
    if not arguments:
        for name, path in known.items():
            said = ast.get_docstring(ast.parse(path.read_text("utf-8"))) or ""
            sys.stdout.write(f"{name:<14} {said.splitlines()[0]}\n")
        return 0
    if arguments[0] not in known:
        sys.stderr.write(f"no such measurement; there are: {', '.join(known)}\n")
        return 2
    sys.argv = [arguments[0], *arguments[1:]]
    runpy.run_module(f"benchmarks.{arguments[0]}", run_name="__main__")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""anjana and pycanon over a folder of ARX's format; runs in the virtual environment of benchmarks/requirements.lock.

python _others.py anonymise FOLDER K SHARE OUT.csv   prints {"cpu_s", "rss_mb"}; suppressed rows are missing from OUT
python _others.py verify FILE.csv                    prints {"k"}: all columns of the file are quasi-identifiers
"""

import json
import resource
import sys
import time
from pathlib import Path

import pandas as pd
from anjana.anonymity import k_anonymity
from pycanon import anonymity


def hierarchies(folder: Path, names: list[str]) -> dict[str, dict[int, list[str]]]:
    """Per column and level the labels, in the order of the hierarchy's raw values."""
    found = {}
    for name in names:
        path = next(folder.glob(f"*hierarchy_{name}.csv"))
        table = pd.read_csv(path, sep=";", header=None, dtype=str)
        found[name] = {level: table[level].to_numpy() for level in table.columns}
    return found


def main(arguments: list[str]) -> None:
    """Do what is asked, as JSON."""
    if arguments[0] == "verify":
        data = pd.read_csv(arguments[1], dtype=str, keep_default_na=False)
        print(json.dumps({"k": int(anonymity.k_anonymity(data, list(data.columns)))}))
        return
    folder, k, share, out = Path(arguments[1]), int(arguments[2]), float(arguments[3]), arguments[4]
    (path,) = [p for p in folder.glob("*.csv") if "hierarchy" not in p.name]
    started = time.process_time()
    data = pd.read_csv(path, sep=";", dtype=str, keep_default_na=False)
    names = list(data.columns)
    found = k_anonymity(data, [], names, k, 100 * share, hierarchies(folder, names))
    found[names].to_csv(out, index=False)
    used = {
        "cpu_s": time.process_time() - started,
        "rss_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }
    print(json.dumps(used))


if __name__ == "__main__":
    main(sys.argv[1:])

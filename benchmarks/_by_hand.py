"""The rows of a release written by hand in Polars; runs in the virtual environment of benchmarks/requirements.lock.

python _by_hand.py FOLDER    prints {"cpu_s", "wall_s", "rss_mb", "rows"}

FOLDER has person.parquet and measurement.parquet of the vault, and crosswalk.parquet: key, pseudonym, shift_days.
What is not done here: consent, choosing classes, verification, manifest.
"""

import json
import resource
import sys
import time
from pathlib import Path

import polars as pl

FEWEST = 11


def people(folder: Path, crosswalk: pl.LazyFrame) -> pl.LazyFrame:
    """Classes of twenty years, sex and the first digit of the region, where eleven are alike."""
    label = (pl.col("born") // 20 * 20).cast(pl.String)
    labels = [label.alias("born"), pl.col("sex"), pl.col("region").str.slice(0, 1)]
    joined = pl.scan_parquet(folder / "person.parquet").join(
        crosswalk, left_on="__participant", right_on="key"
    )
    made = joined.select(pl.col("pseudonym").alias("pid"), *labels)
    alike = pl.len().over("born", "sex", "region") >= FEWEST
    return made.filter(alike).sort("pid")


def codes(folder: Path) -> pl.LazyFrame:
    """Each code with what leaves of it: itself, its block, or nothing where fewer than eleven people have it."""
    held = pl.scan_parquet(folder / "measurement.parquet").select("__participant", "code").unique()
    block = pl.col("code").str.slice(0, 3)
    counted = held.group_by("code").agg(pl.len().alias("n")).with_columns(block.alias("block"))
    wide = held.with_columns(block.alias("block")).select("__participant", "block").unique()
    blocks = wide.group_by("block").agg(pl.len().alias("wide"))
    kept = pl.when(pl.col("n") >= FEWEST).then("code").when(pl.col("wide") >= FEWEST).then("block")
    return counted.join(blocks, on="block").select("code", kept.alias("leaves")).drop_nulls()


def events(folder: Path, crosswalk: pl.LazyFrame) -> pl.LazyFrame:
    """Every transform of the plan, in total order."""
    read = pl.scan_parquet(folder / "measurement.parquet")
    rows = read.join(crosswalk, left_on="__participant", right_on="key").join(codes(folder), on="code")
    made = rows.select(
        pl.col("mid").hash(seed=11).cast(pl.String).alias("mid"),  # no secret: Polars has no keyed digest
        pl.col("pseudonym").alias("pid"),
        (pl.col("day") + pl.duration(days="shift_days")).cast(pl.Date).alias("day"),
        pl.col("leaves").alias("code"),
        ((pl.col("value") / 0.5).round() * 0.5).alias("value"),
        "unit",
    )
    return made.sort("pid", "day", "mid")


def main(folder: Path) -> None:
    """Write both tables and say what it took."""
    cpu, wall = time.process_time(), time.perf_counter()
    crosswalk = pl.scan_parquet(folder / "crosswalk.parquet")
    people(folder, crosswalk).sink_parquet(folder / "by_hand_person.parquet", compression="zstd")
    events(folder, crosswalk).sink_parquet(folder / "by_hand_measurement.parquet", compression="zstd")
    told = {"cpu_s": time.process_time() - cpu, "wall_s": time.perf_counter() - wall}
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    rows = pl.scan_parquet(folder / "by_hand_measurement.parquet").select(pl.len()).collect().item()
    sys.stdout.write(json.dumps({**told, "rss_mb": peak, "rows": rows}) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))

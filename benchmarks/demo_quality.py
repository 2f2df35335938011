"""Print the quality of the demo's models beside two references on the same test frames.

    python benchmarks/demo_quality.py [results]

`hull` is the plain visual hull, voxels that all observed cameras see: it has a silhouette and no
colours. `ablation` is the pipeline without U-Nets. Whole-image PSNR and SSIM are flattered by the
white background; judge by IoU and by the PSNR on the animal's box.
"""

import argparse
from pathlib import Path

import pandas as pd

COLUMNS = {
    "iou": "IoU",
    "psnr_fg": "PSNR on the box (dB)",
    "psnr": "PSNR (dB)",
    "ssim": "SSIM",
    "l1": "L1",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("results", nargs="?", type=Path, default="results")
    results = parser.parse_args().results
    tables = {
        "hull": results / "recordings/demo/default/hull_metrics_test.csv",
        "ablation": results / "experiments/ablation/demo/metrics_test.csv",
        "baseline": results / "experiments/baseline/demo/metrics_test.csv",
    }
    rows = {
        name: pd.read_csv(path, dtype={"camera": str}).set_index("camera")
        for name, path in tables.items()
    }
    for role, label in (("mean_observed", "observed"), ("mean_heldout", "held-out")):
        table = pd.DataFrame({name: row.loc[role] for name, row in rows.items()}).T
        table = table[list(COLUMNS)].rename(columns=COLUMNS).astype(float)
        print(f"\n{label} cameras, test frames of the demo")
        print(table.to_string(float_format="%.3f", na_rep="-"))
    gain = rows["baseline"].loc["mean_heldout", "iou"] - rows["hull"].loc["mean_heldout", "iou"]
    print(f"\nheld-out IoU of baseline above the visual hull's: {gain:+.3f}")


if __name__ == "__main__":
    main()

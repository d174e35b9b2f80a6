#!/bin/sh
# The paper's ablation in this world and two more beside it: seven recipes, SEEDS seeds, STEPS steps of 32 rollouts each, then one table.
# From a checkout, after `ergo train tiny-poor-localisation`: sh tools/ablation.sh. Goes on where it stopped.
set -eu
: "${SEEDS:=0 1 2}" "${STEPS:=40}" "${SAMPLES:=500}" "${OUT:=runs/ablation}"
export OMP_NUM_THREADS=1
measure() { # model, name
  ergo eval world --limit "$SAMPLES" --conditions coarse_to_fine@100 --max-tokens 64 --concurrency 20 --model "$1" --out "$OUT/$2-test"
}
measure hf:runs/tiny-poor-localisation/checkpoint start
for seed in $SEEDS; do
  for name in accuracy region box weights full per-turn graded; do
    run="$OUT/$name-$seed"
    [ -d "$run/checkpoint" ] || ergo train "ablation-$name" --out "$run" --set "seed=$seed" \
      "trl.max_steps=$STEPS" "trl.save_steps=$STEPS" trl.gradient_accumulation_steps=2 trl.learning_rate=3e-4 validate_every=0 show_every=0 "trl.report_to='none'"
    measure "hf:$run/checkpoint" "$name-$seed"
  done
done
python - "$OUT" <<'TABLE'
import json, statistics, sys
from pathlib import Path

def row(folders):
    found = [json.loads(one.read_text())["conditions"]["coarse_to_fine@100"] for one in folders]
    columns = [[100 * one["accuracy"] for one in found]] + [[100 * one["region"][key] for one in found] for key in ("contains", "area")]
    cells = [f"{statistics.mean(values):.1f} ({' '.join(f'{value:.1f}' for value in values)})" for values in columns]
    return " | ".join(cells)

print("| recipe | accuracy % (each seed) | contains % | area % |\n|---|---|---|---|")
for name in ("start", "accuracy", "region", "box", "weights", "full", "per-turn", "graded"):
    folders = sorted(Path(sys.argv[1]).glob(f"{name}-test/report.json" if name == "start" else f"{name}-[0-9]*-test/report.json"))
    print(f"| {name} | {row(folders)} |")
TABLE

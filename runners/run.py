"""Run a config: ``python runners/run.py configs/glyphs.yaml key.sub=value ...``.

By several processes: ``torchrun --nproc-per-node 2 runners/run.py ...``.
"""

import sys

from pml_incremental.cli import main

if __name__ == "__main__":
    sys.exit(main(["run", *sys.argv[1:]]))

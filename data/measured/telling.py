"""How the scripts beside this one print what they measure of the runs that are typed."""

import json
import sys

from vocalsynth_utils import runs


def tell(script, rows):
    """Print the `rows(voice, run)` of each VOICE=RUN that is typed, as JSON, and each as soon as it is there."""
    found = []
    for voice, _, folder in (text.partition("=") for text in sys.argv[1:]):
        for row in rows(voice, runs.open_run(folder)):
            print(json.dumps(row), file=sys.stderr, flush=True)
            found.append(row)
    json.dump({"command": f"python data/measured/{script} VOICE=RUN ...", "rows": found}, sys.stdout, indent=1)
    print()

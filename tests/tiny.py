"""The recipe that most tests train, in a tenth of a second, and its settings as the command line takes them."""

from vocalsynth_utils.recipes import get

CHANGES = {"frame_length": 20, "n_steps": 12, "n_offsets": 1, "n_units": (8,), "n_batch": 8, "n_epochs": 3}
TINY = get("2016-small").replace(learning_rate=0.003, **CHANGES)
SETTINGS = [f"--set={name}={value[0] if name == 'n_units' else value}" for name, value in CHANGES.items()]
SETTINGS += ["--set=learning_rate=0.003"]

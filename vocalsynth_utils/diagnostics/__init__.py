"""What training looks like from inside: gradients, gates and optimiser, what a run is worth, what memory it takes."""

from .gradients import compile_probe, training_diagnostics
from .memory import check_memory, check_network_memory, describe_memory, memory_needed
from .nats import to_beat
from .results import errors_in_frame, mean_over, write_result

__all__ = ["check_memory", "check_network_memory", "compile_probe", "describe_memory", "errors_in_frame", "mean_over"]
__all__ += ["memory_needed", "to_beat", "training_diagnostics", "write_result"]

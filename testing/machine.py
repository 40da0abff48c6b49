"""Description of the machine that something was measured on."""

import os
import platform
from datetime import UTC, datetime

import torch

from worker.device.device import environment


def machine() -> dict[str, object]:
    """Facts about the machine and its state at this time."""
    device = torch.device("cuda:0" if torch.cuda.is_available() else "cpu")
    return {
        "measured_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "cores": os.cpu_count(),
        "load_average_before": os.getloadavg()[0],
        "machine": platform.machine(),
        **environment(device).model_dump(),
    }

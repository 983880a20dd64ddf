"""Where the real videos lie that experiments learn from and are tested on."""

from __future__ import annotations

import os
import sys
from pathlib import Path


def real_videos() -> Path:
    """The folder that KINEMA_DATA names; without it the script ends in one line."""
    folder = os.environ.get("KINEMA_DATA")
    if not folder:
        sys.exit(
            "KINEMA_DATA is not set: it must name a folder with ucf101-3/UCF-101/<class>/<video>, "
            "three classes of UCF101 or more, and official lists beside it in ../lists/ucf101."
        )
    if not Path(folder, "ucf101-3").is_dir():
        sys.exit(f"KINEMA_DATA {folder}: there is no folder ucf101-3 with classes of UCF101.")
    return Path(folder)

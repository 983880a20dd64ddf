"""`kinema ...` as one of several processes whose claims grow stale soon."""

from __future__ import annotations

import sys

from kinema.cli.app import main
from kinema.sharing import claims, loop

if __name__ == "__main__":
    claims.BEAT_SECONDS, claims.SOON_SECONDS, claims.STALE_SECONDS = 0.2, 0.05, 3.0
    loop.POLL_SECONDS = 0.3
    sys.exit(main(sys.argv[1:]))

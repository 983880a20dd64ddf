"""`kinema ...` as one of several processes whose claims grow stale soon.

With KINEMA_TEST_SLOW=1 a table takes a moment, so that there is time to kill it.
"""

from __future__ import annotations

import os
import sys

from kinema.cli.app import main
from kinema.features import child
from kinema.sharing import claims, loop

SLOW = """
import time
from kinema.features import child, table
save = table.FeatureTable.save
table.FeatureTable.save = lambda *given: (time.sleep(0.2), save(*given))
child.main()
"""

if __name__ == "__main__":
    if os.environ.get("KINEMA_TEST_SLOW"):
        child.PROGRAM = SLOW
    claims.BEAT_SECONDS, claims.SOON_SECONDS, claims.STALE_SECONDS = 0.2, 0.05, 3.0
    loop.POLL_SECONDS = 0.3
    sys.exit(main(sys.argv[1:]))

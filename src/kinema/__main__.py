"""`python -m kinema` is `kinema`."""

import sys

from kinema.cli.app import main

sys.exit(main())

"""`python -m dilm` is `dilm`."""

import sys

from .cli import main

sys.exit(main())

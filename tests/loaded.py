"""What scripts would load first: imported once, in the process that `starter` forks them from."""

import gc

from run import replicas

replicas.import_tensorflow()
import models  # noqa: E402, F401
from training import batches, records  # noqa: E402, F401

gc.freeze()  # children share what is loaded: nothing of it is looked through, and so copied

"""What runs inside the training process. Importing it loads the standard library only.

import aifarm.train

run = aifarm.train.current()      # on the farm: this task; elsewhere: a working local run
run.report(loss=loss, accuracy=accuracy)
"""

from aifarm.train.run import Run, current

__all__ = ["Run", "current"]

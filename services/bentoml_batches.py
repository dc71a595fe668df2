"""A ninth trap of BentoML, beside those of `services.bentoml_runtime`: a batchable API runs one batch at a time.

A method that schedules by itself (iteration by iteration, say) could take new items while old ones run, but the dispatcher keeps these in its queue
until the whole batch before them is done.
"""

from typing import Any

from bentoml._internal.marshal import dispatcher

import services.bentoml_runtime  # noqa: F401 - refuses a version of BentoML that the cures were not checked against


def allow_concurrent_batches(count: int) -> None:
    """Let up to `count` batches of each batchable API run at the same time, in this process.

    Batches form as before, of what has come when there is room; dispatchers made before the call are changed as well.
    """

    def is_locked(self: Any) -> bool:
        # BentoML's own counts down from 1 and is locked at 0.
        return bool(self.sema <= 1 - count)

    def acquire(self: Any) -> bool:
        if is_locked(self):
            return False
        self.sema -= 1
        return True

    dispatcher.NonBlockSema.is_locked = is_locked  # type: ignore[method-assign]
    dispatcher.NonBlockSema.acquire = acquire  # type: ignore[method-assign]

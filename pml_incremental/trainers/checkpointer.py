"""What saves the state of training."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from pml_incremental.trainers.resumable_mixin import ResumableMixin


class Checkpointer(Protocol):
    """Called by a trainer where its ``state_dict`` is that of a whole iteration."""

    def after_iteration(self, trainer: ResumableMixin) -> None:
        """Called after every iteration.

        Args:
            trainer: as the next iteration will find it.
        """

    def after_epoch(self, trainer: ResumableMixin) -> None:
        """Called after every epoch, when schedulers have stepped and hooks were called.

        Args:
            trainer: as the next epoch will find it.
        """

    def after_failure(self, trainer: ResumableMixin, error: Exception) -> None:
        """Called when an iteration failed before it changed a weight.

        Args:
            trainer: as the failed iteration found it.
            error: what happened; it is raised again afterwards.
        """

"""Retrieval on every task, in its own gallery and in that of all tasks seen."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any

import torch
from pytorch_metric_learning.testers import GlobalEmbeddingSpaceTester
from pytorch_metric_learning.utils import common_functions as c_f
from pytorch_metric_learning.utils.accuracy_calculator import AccuracyCalculator
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from pml_incremental.distributed import Processes
from pml_incremental.functional.checks import check_label_numbers
from pml_incremental.models.modes import evaluation_mode
from pml_incremental.signatures import WholeSignature
from pml_incremental.testers.evaluation import Evaluation, Values, embed_all, evaluation_of
from pml_incremental.testers.recall_calculator import (
    EXCLUDED_QUERIES,
    RecallCalculator,
    check_finite,
    check_splits,
)
from pml_incremental.testers.retrieval_search import (
    RetrievalSearch,
    query_first,
    search_levels,
    search_splits,
)

# Split -> embeddings (N, d) and labels (N, levels).
Embedded = dict[str, tuple[Tensor, Tensor]]


class IncrementalTester(GlobalEmbeddingSpaceTester):
    """Evaluates an embedding model task by task; each task is a split of its own.

    A split's queries are searched in the split's own images and in the joint gallery of all
    splits. No query finds itself. Each image is embedded once, distances are computed once, both
    galleries are read off them, and the models come back in the modes they were in. The search is
    exact (see :class:`~pml_incremental.search.ExactSearch`) unless an index is named.

    :meth:`evaluate` is the direct way. :meth:`test` is PML's and works in its hooks.

    Args:
        *args: as PML's testers take them.
        ks: the K of each Recall@K.
        metrics: names of the metrics: ``recall_at_K``, ``precision_at_K``, ``r_precision``,
            ``mean_average_precision_at_r``, ``mean_average_precision``, ``mean_reciprocal_rank``,
            ``NMI``, ``AMI``. Default: ``recall_at_K`` for all ks and the first two averages.
        memory_mb: what the search may take beside the embeddings, in MiB.
        embeddings_folder: keep embeddings there, in files mapped into memory, for galleries that
            do not fit into it. The files are gone when the embeddings are. Default: in memory, on
            the device.
        index: faiss's factory string for an approximate search, such as ``"IVF1024,Flat"``. Name
            the metrics then, as none may need the whole ranking.
        nprobe: lists that an IVF index looks at.
        progress: show a progress bar for each split.
        processes: that evaluate together: each embeds a share of the images, and the first one
            searches. Only :meth:`evaluate` knows them. Default: this one alone.
        **kwargs: as PML's testers take them. With an ``accuracy_calculator`` of your own, it
            searches, once for each split and gallery, and the options above do nothing.

    Example:
        >>> from torch.utils.data import TensorDataset
        >>> images = torch.tensor([[1.0, 0.0], [1.0, 0.1], [0.0, 1.0], [0.1, 1.0]])
        >>> task = TensorDataset(images, torch.tensor([0, 0, 1, 1]))
        >>> tester = IncrementalTester(dataloader_num_workers=0)
        >>> tester.evaluate({"task_1": task}, trunk=nn.Identity()).own["recall_at_1"]
        {'task_1': 1.0}
    """

    __signature__ = WholeSignature()

    def __init__(
        self,
        *args: Any,
        ks: Sequence[int] = (1, 2, 4, 8),
        metrics: Sequence[str] | None = None,
        memory_mb: int = 512,
        embeddings_folder: str | None = None,
        index: str | None = None,
        nprobe: int | None = None,
        progress: bool = False,
        processes: Processes | None = None,
        **kwargs: Any,
    ) -> None:
        self.ks = tuple(ks)
        self.processes = Processes() if processes is None else processes
        self.search: RetrievalSearch | None = None
        self.embeddings_folder = embeddings_folder
        super().__init__(*args, **kwargs)
        if self.pca and embeddings_folder is not None:
            raise ValueError("pca needs all embeddings in memory: leave out embeddings_folder")
        if self.search is not None:
            names = self.search.metrics if metrics is None else tuple(metrics)
            self.search = RetrievalSearch(
                names, memory_mb, index, nprobe, torch.device(self.data_device)
            )
        self.progress = progress

    def initialize_accuracy_calculator(self) -> None:
        """Recall@K by one search, unless another calculator was given."""
        if self.accuracy_calculator is None:
            # PML's hooks ask it for the names of the metrics.
            self.accuracy_calculator = RecallCalculator(self.ks, device=self.data_device)
            names = self.accuracy_calculator.default_metrics()
            self.search = RetrievalSearch(tuple(n for n in names if n != EXCLUDED_QUERIES))

    @property
    def searches_by_index(self) -> bool:
        """Whether the search is approximate."""
        return self.search is not None and self.search.index is not None

    def evaluate(
        self,
        datasets: Mapping[str, Dataset[Any]],
        trunk: nn.Module,
        embedder: nn.Module | None = None,
        seen: Collection[str] | None = None,
    ) -> Evaluation:
        """Metrics of every split given, also of those that the model has not learned yet.

        Args:
            datasets: split -> map-style dataset of (image, label), or of what the tester's
                ``data_and_label_getter`` takes.
            trunk: maps images to features, shape (N, d').
            embedder: maps features to embeddings, shape (N, d). Default: the identity.
            seen: the splits in the joint gallery. Default: all.

        Returns:
            An :class:`Evaluation`; of several processes, all but the first get one without
            embeddings, labels and ranks.

        Raises:
            ValueError: if there are no splits, one is empty or gives non-finite embeddings, seen
                names a split that is not given, or the tester is set to several label levels.
        """
        level = self.label_hierarchy_level
        if not isinstance(level, int):
            raise ValueError(
                f"evaluate compares one level of labels, but label_hierarchy_level is {level!r}: "
                "give the tester the number of one level, or use test"
            )
        seen = list(dict.fromkeys(datasets if seen is None else seen))
        check_splits("seen", seen, datasets)
        embedder = nn.Identity() if embedder is None else embedder
        with evaluation_mode(trunk, embedder):
            embedded = self.get_all_embeddings_for_all_splits(
                datasets, trunk, embedder, list(datasets), None
            )
        return self.processes.on_rank_zero(
            lambda: self._evaluate_embedded(embedded, level, seen), Evaluation.without_images
        )

    def _evaluate_embedded(
        self, embedded: Embedded, level: int, seen: Collection[str]
    ) -> Evaluation:
        level_of = {split: (x, y[:, level]) for split, (x, y) in embedded.items()}
        if self.search is None:
            calculator = self.accuracy_calculator
            own = {s: search_by_calculator(calculator, level_of, s, [s]) for s in level_of}
            joint = {s: search_by_calculator(calculator, level_of, s, seen) for s in seen}
            return evaluation_of(own, joint, calculator.get_curr_metrics(), level_of)
        found = search_splits(self.search, level_of, seen)
        return evaluation_of(
            found.values["own"],
            found.values["joint"],
            self.search.metrics,
            level_of,
            ranks=found.ranks,
            recall_of_index=found.recall_of_index,
        )

    def test(
        self,
        dataset_dict: Mapping[str, Dataset[Any]],
        epoch: int,
        trunk_model: nn.Module,
        embedder_model: nn.Module | None = None,
        splits_to_eval: Iterable[tuple[str, list[str]]] | None = None,
        collate_fn: Callable[..., Any] | None = None,
    ) -> dict[str, dict[str, float]]:
        """PML's test, with the joint gallery.

        Metrics are named as by PML, for example ``recall_at_1_level0``; those of the joint gallery
        have ``joint_`` before that name. The joint gallery is every split that this call embeds:
        with the default ``splits_to_eval``, all of ``dataset_dict``.

        Args:
            dataset_dict: split -> dataset.
            epoch: recorded with the metrics.
            trunk_model: maps images to features.
            embedder_model: maps features to embeddings. Default: the identity.
            splits_to_eval: (query split, reference splits) pairs. Default: each split in itself.
            collate_fn: for the data loader.

        Returns:
            Query split -> metric name -> value; also kept as ``all_accuracies``.

        Raises:
            ValueError: if a split is unknown, empty or gives non-finite embeddings, or there are
                several processes.
        """
        if self.processes.is_distributed:
            raise ValueError("test is for one process: use evaluate, which all processes call")
        if splits_to_eval is not None:
            # PML reorders these lists in place, which goes wrong where two splits share one.
            splits_to_eval = [(query, list(gallery)) for query, gallery in splits_to_eval]
        embedder_model = nn.Identity() if embedder_model is None else embedder_model
        with evaluation_mode(trunk_model, embedder_model):
            accuracies: dict[str, dict[str, float]] = super().test(
                dataset_dict, epoch, trunk_model, embedder_model, splits_to_eval, collate_fn
            )
        return accuracies

    def get_all_embeddings_for_all_splits(
        self,
        dataset_dict: Mapping[str, Dataset[Any]],
        trunk_model: nn.Module,
        embedder_model: nn.Module,
        splits_to_compute_embeddings: Collection[str],
        collate_fn: Callable[..., Any] | None,
    ) -> Embedded:
        """As PML's, in the order of ``dataset_dict`` and with its splits checked."""
        check_splits("splits_to_eval", splits_to_compute_embeddings, dataset_dict)
        # PML's order is that of a set of strings: another one, and other ties, in each run.
        splits = [split for split in dataset_dict if split in splits_to_compute_embeddings]
        embedded: Embedded = super().get_all_embeddings_for_all_splits(
            dataset_dict, trunk_model, embedder_model, splits, collate_fn
        )
        self.processes.on_rank_zero(lambda: _check_all_finite(embedded, dataset_dict))
        return embedded

    def compute_all_embeddings(
        self, dataloader: DataLoader[Any], trunk_model: nn.Module, embedder_model: nn.Module
    ) -> tuple[Tensor, Tensor]:
        """Embeddings (N, d) and labels (N, levels) of all images, in order.

        Of several processes, all but the first return empty ones.
        """

        def embed(batch: Any) -> tuple[Tensor, Tensor]:
            images, label = self.data_and_label_getter(batch)
            check_label_numbers(label)
            label = c_f.process_label(label, "all", self.label_mapper)
            embedded = self.get_embeddings_for_eval(trunk_model, embedder_model, images)
            if self.embeddings_folder is not None:
                embedded = normalize(embedded)
            label = label.reshape(len(label), -1)
            return embedded.to(self.data_device), label.to(self.data_device)

        normalize = super().maybe_normalize
        return embed_all(dataloader, embed, self.processes, self.embeddings_folder, self.progress)

    def maybe_normalize(self, embeddings: Tensor) -> Tensor:
        """PML's, of all embeddings at once; those in files are normalised on their way there."""
        if self.embeddings_folder is not None or not self.processes.is_rank_zero:
            return embeddings
        normalized: Tensor = super().maybe_normalize(embeddings)
        return normalized

    def do_knn_and_accuracies(
        self,
        accuracies: dict[str, float],
        embeddings_and_labels: Embedded,
        query_split_name: str,
        reference_split_names: list[str],
    ) -> None:
        """Values in the reference splits, and in the joint gallery."""
        joint: dict[str, float] = {}
        if self.search is None:
            splits = query_first(query_split_name, embeddings_and_labels)
            super().do_knn_and_accuracies(joint, embeddings_and_labels, query_split_name, splits)
            super().do_knn_and_accuracies(
                accuracies, embeddings_and_labels, query_split_name, reference_split_names
            )
        else:
            own, joint = search_levels(
                self, self.search, embeddings_and_labels, query_split_name, reference_split_names
            )
            accuracies.update(own)
        accuracies.update({f"joint_{name}": value for name, value in joint.items()})


def _check_all_finite(embedded: Embedded, datasets: Mapping[str, Dataset[Any]]) -> None:
    for split, (embeddings, _) in embedded.items():
        check_finite(f"split {split!r}", embeddings, datasets[split])


def search_by_calculator(
    calculator: AccuracyCalculator,
    embedded: Mapping[str, tuple[Tensor, Tensor]],
    query: str,
    gallery: Iterable[str],
) -> Values:
    """All metrics of a calculator, for one split's queries in the gallery of some splits."""
    # PML leaves out the query by its place: its split must come first.
    parts = [embedded[split] for split in query_first(query, gallery)]
    items, item_labels = (torch.cat(tensors) for tensors in zip(*parts, strict=True))
    values: Values = calculator.get_accuracy(
        *embedded[query], items, item_labels, ref_includes_query=True
    )
    return values

"""Loaders of PyTorch, read once and whole: every image once, in the order of their set."""

from __future__ import annotations

from typing import Any

from torch.utils.data import (
    BatchSampler,
    DataLoader,
    DistributedSampler,
    IterableDataset,
    RandomSampler,
    SequentialSampler,
    Subset,
    SubsetRandomSampler,
    WeightedRandomSampler,
)

from nescio.errors import UsageError


def in_own_order(loader: DataLoader[Any]) -> DataLoader[Any]:
    """A loader of the same images, batches and processes that neither shuffles nor drops any.

    A split is by the places of images, so these must not change from one reading to the next.
    Whoever chooses images by a sampler of their own, gets those that it chooses.

    Raises:
        UsageError: The loader gives images more than once, or not all of them.
    """
    dataset, sampler = loader.dataset, loader.sampler
    custom = loader.batch_sampler is not None and type(loader.batch_sampler) is not BatchSampler
    if isinstance(dataset, IterableDataset) or custom:
        return loader
    some = isinstance(sampler, RandomSampler) and (
        sampler.replacement or sampler.num_samples != len(sampler.data_source)
    )
    if some or isinstance(sampler, WeightedRandomSampler):
        raise UsageError(
            "the loader draws images at random, some of them more than once or never; give its "
            ".dataset (a recipe's balance weighs unequal classes)"
        )
    if isinstance(sampler, SubsetRandomSampler):
        dataset = Subset(dataset, list(sampler.indices))
    elif not isinstance(sampler, SequentialSampler | RandomSampler | DistributedSampler):
        return loader
    return DataLoader(
        dataset,
        batch_size=loader.batch_size,
        num_workers=loader.num_workers,
        collate_fn=loader.collate_fn,
        worker_init_fn=loader.worker_init_fn,
        multiprocessing_context=loader.multiprocessing_context,
    )

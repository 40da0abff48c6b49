"""Batches of any shape: whatever the tree, its samples are split, joined and hashed alike."""

import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils import _pytree as pytree

from worker.data.batches import bytes_of, chunks, first_samples, map_tensors, samples_in, sha256, split, tensors_of

SAMPLES = st.integers(1, 12)
DTYPES = (torch.float32, torch.float64, torch.int64, torch.bool)


@st.composite
def batches(draw, samples=SAMPLES):
    """Trees of tensors with equally many samples, numbered so that every element of the batch is another."""
    count = draw(samples)
    leaf = st.tuples(st.lists(st.integers(1, 3), max_size=2), st.sampled_from(DTYPES))
    shapes = draw(
        st.recursive(
            leaf.map(lambda found: Leaf(*found)),
            lambda inner: (
                st.lists(inner, min_size=1, max_size=3)
                | st.tuples(inner, inner)
                | st.dictionaries(st.sampled_from("abc"), inner, min_size=1)
            ),
            max_leaves=5,
        )
    )
    return pytree.tree_map(lambda leaf: leaf.tensor(count), shapes)


class Leaf:
    """Shape of one sample and dtype."""

    def __init__(self, shape, dtype):
        self.shape, self.dtype = shape, dtype

    def tensor(self, count):
        size = torch.Size([count, *self.shape])
        return (torch.arange(size.numel()) + 1).reshape(size).to(self.dtype)


def joined(parts):
    """The batch that parts were split from."""
    leaves = [torch.cat(tensors) for tensors in zip(*map(tensors_of, parts), strict=True)]
    return pytree.tree_unflatten(leaves, pytree.tree_structure(parts[0]))


def equal(one, other):
    same_tree = pytree.tree_structure(one) == pytree.tree_structure(other)
    return same_tree and all(map(torch.equal, tensors_of(one), tensors_of(other)))


@given(batches(), st.integers(1, 13))
def test_parts_join_to_the_batch(batch, size):
    parts = split(batch, size)
    assert equal(joined(parts), batch)
    assert [samples_in(part) for part in parts[:-1]] == [size] * (len(parts) - 1)
    assert sum(map(bytes_of, parts)) == bytes_of(batch)


@given(batches(samples=st.integers(1, 4).map(lambda each: 3 * each)))
def test_micro_batches_are_equal_parts(batch):
    parts = chunks(batch, 3)
    assert equal(joined(parts), batch)
    assert {samples_in(part) for part in parts} == {samples_in(batch) // 3}


@given(batches(), st.integers(1, 12))
def test_the_first_samples_are_the_first_part(batch, count):
    assert equal(first_samples(batch, count), split(batch, count)[0])


@given(batches(), st.integers(1, 13))
def test_a_hash_is_of_the_samples_and_their_order(batch, size):
    assert sha256([batch]) == sha256([map_tensors(torch.clone, batch)])
    parts = split(batch, size)
    if len(parts) > 1 and not all(tensor.dtype is torch.bool for tensor in tensors_of(batch)):
        assert sha256(parts) != sha256(parts[::-1])


@given(batches(), st.data())
def test_a_hash_tells_of_any_changed_element(batch, data):
    changed = map_tensors(torch.clone, batch)
    values = data.draw(st.sampled_from(tensors_of(changed))).view(-1)
    place = data.draw(st.integers(0, len(values) - 1))
    values[place] = ~values[place] if values.dtype is torch.bool else values[place] + 1
    assert sha256([changed]) != sha256([batch])

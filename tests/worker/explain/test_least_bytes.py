"""The least bytes of an operation, and their sizes."""

import torch

from worker.explain.least_bytes import least_bytes, size_class, tensor_bytes

F32 = 4


def bytes_of(func, *args, **kwargs):
    return least_bytes(func, args, kwargs, func(*args, **kwargs))


def test_operands_and_results_count_once():
    left, right = torch.ones(8, 16), torch.ones(16, 4)
    assert bytes_of(torch.ops.aten.mm.default, left, right) == F32 * (8 * 16 + 16 * 4 + 8 * 4)


def test_what_an_operation_changes_is_read_and_written():
    assert bytes_of(torch.ops.aten.add_.Tensor, torch.ones(8), torch.ones(8)) == F32 * 3 * 8
    assert bytes_of(torch.ops.aten.copy_.default, torch.ones(8), torch.ones(8)) == F32 * 2 * 8


def test_repeated_elements_count_once():
    assert tensor_bytes(torch.ones(1, 8).expand(100, 8)) == F32 * 8
    assert tensor_bytes(torch.ones(0, 8)) == 0
    assert tensor_bytes(torch.eye(4).to_sparse()) == 0


def test_a_lookup_reads_the_rows_it_returns_not_the_table():
    table, rows = torch.ones(1000, 8), torch.tensor([1, 2])
    assert bytes_of(torch.ops.aten.embedding.default, table, rows) == 2 * 2 * 8 * F32 + 2 * 8


def test_the_fused_optimizer_reads_and_writes_all_its_lists():
    weights, others = [torch.ones(8), torch.ones(4)], [[torch.ones(8), torch.ones(4)] for _ in range(3)]
    steps = [torch.tensor(1.0), torch.tensor(1.0)]
    func = torch.ops.aten._fused_adamw_.default
    settings = {"lr": 1e-3, "beta1": 0.9, "beta2": 0.99, "weight_decay": 0.0, "eps": 1e-8}
    args = (weights, *others, [], steps)
    kwargs = settings | {"amsgrad": False, "maximize": False}
    func(*args, **kwargs)
    assert least_bytes(func, args, kwargs, None) == F32 * (12 * (4 + 3) + 2)  # and both counts of steps


def test_what_is_not_read_does_not_count():
    logits, targets = torch.randn(8, 100).log_softmax(-1), torch.zeros(8, dtype=torch.int64)
    forward = torch.ops.aten.nll_loss_forward.default
    assert bytes_of(forward, logits, targets, None, 1, -100) == 8 * 8 + 2 * F32
    assert bytes_of(torch.ops.aten.zeros_like.default, torch.ones(8)) == F32 * 8


def test_rows_that_are_added_to_count_not_the_table():
    table, rows, added = torch.zeros(1000, 8), torch.tensor([1, 2]), torch.ones(2, 8)
    assert bytes_of(torch.ops.aten.index_add_.default, table, 0, rows, added) == 2 * 2 * 8 * F32


def test_sizes_are_powers_of_two():
    assert [size_class(one) for one in (0, 1, 2, 3, 1024, 1025)] == [0, 1, 2, 4, 1024, 2048]

"""Rank pretrained image backbones by how robust they will be after transfer to a task.

A linear head is as robust as the representation under it lets it be. The theory in one example,
with a representation that is known exactly, the identity on two features:

>>> import torch
>>> from selector.bounds import criterion_holds, decision_radii, worst_case_losses
>>> weight = torch.tensor([[1.0, 0.0], [0.0, 1.0]], dtype=torch.float64)
>>> features = torch.tensor([[2.0, 0.0], [0.6, 0.5]], dtype=torch.float64)
>>> labels = torch.tensor([0, 0])
>>> decision_radii(features @ weight.T, weight)     # distance to the decision boundary
tensor([1.4142, 0.0707], dtype=torch.float64)
>>> moved = torch.tensor([0.5, 0.5], dtype=torch.float64)     # how far each feature can be pushed
>>> criterion_holds(features @ weight.T, weight, labels, moved).tolist()
[True, False]
>>> worst_case_losses(features @ weight.T, weight, labels, moved)
tensor([0.2425, 1.0421], dtype=torch.float64)
"""

from importlib.metadata import version

__version__ = version("selector")

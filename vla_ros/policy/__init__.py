"""Policies: the interface, the in-house network and its checkpoint. May import torch."""

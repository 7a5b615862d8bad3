"""Compiled contracts of the commit-chain and of the tokens used in development and tests."""

from contracts.artifacts_loader import Artifact, load

__all__ = ["Artifact", "load"]

"""Hashes, leaves, trees, proofs and signatures of the NOCUST commit-chain.

Pure Python over two compiled libraries (coincurve, safe-pysha3); no framework, no I/O, no state. Hashes,
addresses and signatures are ``bytes`` (32, 20 and 65 long), amounts are ``int`` in the smallest unit.
Everything invalid raises a subclass of :class:`nocust.errors.NocustError` and nothing else.
"""

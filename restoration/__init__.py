"""What keeps a hub whose database was restored to the past from contradicting what it signed since then.

A restored database does not know the states that the hub countersigned after that point, but the wallets hold
them. A second state of the same wallet and eon with lower counters would let its owner win a challenge with the
first one, and a checkpoint without the lost states would be open to challenges. So a hub on a restored database is
*held*: it applies what the chain did, repeats checkpoints that are on chain already if its own root is the same,
and signs nothing until the operator has decided (`manage.py after_restore`, docs/operations/backup.md).

That a database was restored is noticed by what PostgreSQL changes then (`identity.py`); that nothing is signed is
kept by triggers in the database (`migrations/0001_initial.py`), whatever the processes do.
"""

"""Players: wallets that sign as clients do, and an operator that takes a ledger through eons. Tests, benchmarks
and management commands use them."""

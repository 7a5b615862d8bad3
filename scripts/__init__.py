"""Start scripts, one a process, and the development supervisor (`scripts.hub`)."""

"""The development hub: starts, watches and ends every process that a running hub needs.

`python -m scripts.hub COMMAND` is what `run.sh` calls after it has installed the packages. The parts can be used
on their own: `stack.Stack` is the whole hub for tests, `supervisor.Supervisor` keeps any set of programs running.
"""
